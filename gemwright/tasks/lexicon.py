"""The words of the six languages, a row per idea: English, German, French, Spanish, Russian, Greek.

Nouns: English one and many; then gender (m, f, n), one and many of each language; Russian has the forms after 2 to 4
(the singular's genitive) and after 5 to 10 (the plural's genitive) instead of many. Adjectives: masculine, feminine
and neuter where they differ. Nothing else is inflected in the sentences that are made of them.
"""

from __future__ import annotations

# ruff: noqa: E501 (a row per idea reads best on one line)

ANIMALS = """
dog dogs | m Hund Hunde | m chien chiens | m perro perros | f собака собаки собак | m σκύλος σκύλοι
cat cats | f Katze Katzen | m chat chats | m gato gatos | f кошка кошки кошек | f γάτα γάτες
horse horses | n Pferd Pferde | m cheval chevaux | m caballo caballos | f лошадь лошади лошадей | n άλογο άλογα
bird birds | m Vogel Vögel | m oiseau oiseaux | m pájaro pájaros | f птица птицы птиц | n πουλί πουλιά
cow cows | f Kuh Kühe | f vache vaches | f vaca vacas | f корова коровы коров | f αγελάδα αγελάδες
mouse mice | f Maus Mäuse | f souris souris | m ratón ratones | f мышь мыши мышей | n ποντίκι ποντίκια
rabbit rabbits | n Kaninchen Kaninchen | m lapin lapins | m conejo conejos | m кролик кролика кроликов | n κουνέλι κουνέλια
bear bears | m Bär Bären | m ours ours | m oso osos | m медведь медведя медведей | f αρκούδα αρκούδες
wolf wolves | m Wolf Wölfe | m loup loups | m lobo lobos | m волк волка волков | m λύκος λύκοι
fox foxes | m Fuchs Füchse | m renard renards | m zorro zorros | f лиса лисы лис | f αλεπού αλεπούδες
goat goats | f Ziege Ziegen | f chèvre chèvres | f cabra cabras | f коза козы коз | f κατσίκα κατσίκες
duck ducks | f Ente Enten | m canard canards | m pato patos | f утка утки уток | f πάπια πάπιες
frog frogs | m Frosch Frösche | f grenouille grenouilles | f rana ranas | f лягушка лягушки лягушек | m βάτραχος βάτραχοι
lion lions | m Löwe Löwen | m lion lions | m león leones | m лев льва львов | n λιοντάρι λιοντάρια
monkey monkeys | m Affe Affen | m singe singes | m mono monos | f обезьяна обезьяны обезьян | f μαϊμού μαϊμούδες
elephant elephants | m Elefant Elefanten | m éléphant éléphants | m elefante elefantes | m слон слона слонов | m ελέφαντας ελέφαντες
turtle turtles | f Schildkröte Schildkröten | f tortue tortues | f tortuga tortugas | f черепаха черепахи черепах | f χελώνα χελώνες
bee bees | f Biene Bienen | f abeille abeilles | f abeja abejas | f пчела пчелы пчёл | f μέλισσα μέλισσες
snake snakes | f Schlange Schlangen | m serpent serpents | f serpiente serpientes | f змея змеи змей | n φίδι φίδια
sheep sheep | n Schaf Schafe | m mouton moutons | f oveja ovejas | f овца овцы овец | n πρόβατο πρόβατα
pig pigs | n Schwein Schweine | m cochon cochons | m cerdo cerdos | f свинья свиньи свиней | n γουρούνι γουρούνια
"""
THINGS = """
book books | n Buch Bücher | m livre livres | m libro libros | f книга книги книг | n βιβλίο βιβλία
chair chairs | m Stuhl Stühle | f chaise chaises | f silla sillas | m стул стула стульев | f καρέκλα καρέκλες
hat hats | m Hut Hüte | m chapeau chapeaux | m sombrero sombreros | f шляпа шляпы шляп | n καπέλο καπέλα
cup cups | f Tasse Tassen | f tasse tasses | f taza tazas | f чашка чашки чашек | n φλιτζάνι φλιτζάνια
bag bags | f Tasche Taschen | m sac sacs | f bolsa bolsas | f сумка сумки сумок | f τσάντα τσάντες
key keys | m Schlüssel Schlüssel | f clé clés | f llave llaves | m ключ ключа ключей | n κλειδί κλειδιά
shirt shirts | n Hemd Hemden | f chemise chemises | f camisa camisas | f рубашка рубашки рубашек | n πουκάμισο πουκάμισα
apple apples | m Apfel Äpfel | f pomme pommes | f manzana manzanas | n яблоко яблока яблок | n μήλο μήλα
"""
FIXED = """
house houses | n Haus Häuser | f maison maisons | f casa casas | m дом дома домов | n σπίτι σπίτια
car cars | n Auto Autos | f voiture voitures | m coche coches | f машина машины машин | n αυτοκίνητο αυτοκίνητα
flower flowers | f Blume Blumen | f fleur fleurs | f flor flores | m цветок цветка цветов | n λουλούδι λουλούδια
table tables | m Tisch Tische | f table tables | f mesa mesas | m стол стола столов | n τραπέζι τραπέζια
door doors | f Tür Türen | f porte portes | f puerta puertas | f дверь двери дверей | f πόρτα πόρτες
boat boats | n Boot Boote | m bateau bateaux | m barco barcos | f лодка лодки лодок | f βάρκα βάρκες
window windows | n Fenster Fenster | f fenêtre fenêtres | f ventana ventanas | n окно окна окон | n παράθυρο παράθυρα
tree trees | m Baum Bäume | m arbre arbres | m árbol árboles | n дерево дерева деревьев | n δέντρο δέντρα
"""
COLOURS = """
white | weiß | blanc blanche | blanco blanca | белый белая белое | άσπρος άσπρη άσπρο
black | schwarz | noir noire | negro negra | чёрный чёрная чёрное | μαύρος μαύρη μαύρο
red | rot | rouge | rojo roja | красный красная красное | κόκκινος κόκκινη κόκκινο
green | grün | vert verte | verde | зелёный зелёная зелёное | πράσινος πράσινη πράσινο
blue | blau | bleu bleue | azul | синий синяя синее | μπλε
yellow | gelb | jaune | amarillo amarilla | жёлтый жёлтая жёлтое | κίτρινος κίτρινη κίτρινο
grey | grau | gris grise | gris | серый серая серое | γκρίζος γκρίζα γκρίζο
"""
QUALITIES = """
big | groß | grand grande | grande | большой большая большое | μεγάλος μεγάλη μεγάλο
small | klein | petit petite | pequeño pequeña | маленький маленькая маленькое | μικρός μικρή μικρό
beautiful | schön | beau belle | bonito bonita | красивый красивая красивое | όμορφος όμορφη όμορφο
"""
COMPARED = """
bigger | größer | plus_grand plus_grande | más_grande | больше | μεγαλύτερος μεγαλύτερη μεγαλύτερο
smaller | kleiner | plus_petit plus_petite | más_pequeño más_pequeña | меньше | μικρότερος μικρότερη μικρότερο
"""
VERBS = """
sleeps | schläft | dort | duerme | спит | κοιμάται
runs | rennt | court | corre | бегает | τρέχει
plays | spielt | joue | juega | играет | παίζει
waits | wartet | attend | espera | ждёт | περιμένει
jumps | springt | saute | salta | прыгает | πηδάει
works | arbeitet | travaille | trabaja | работает | δουλεύει
sings | singt | chante | canta | поёт | τραγουδάει
dances | tanzt | danse | baila | танцует | χορεύει
"""
PLACES = """
in the house | im Haus | dans la maison | en la casa | в доме | στο σπίτι
in the garden | im Garten | dans le jardin | en el jardín | в саду | στον κήπο
in the forest | im Wald | dans la forêt | en el bosque | в лесу | στο δάσος
by the river | am Fluss | près de la rivière | junto al río | у реки | κοντά στο ποτάμι
in the street | auf der Straße | dans la rue | en la calle | на улице | στον δρόμο
in the kitchen | in der Küche | dans la cuisine | en la cocina | на кухне | στην κουζίνα
at school | in der Schule | à l'école | en la escuela | в школе | στο σχολείο
on the beach | am Strand | sur la plage | en la playa | на пляже | στην παραλία
in the city | in der Stadt | en ville | en la ciudad | в городе | στην πόλη
in the mountains | in den Bergen | à la montagne | en las montañas | в горах | στα βουνά
in the park | im Park | dans le parc | en el parque | в парке | στο πάρκο
under the tree | unter dem Baum | sous l'arbre | bajo el árbol | под деревом | κάτω από το δέντρο
"""
TIMES = """
today | heute | aujourd'hui | hoy | сегодня | σήμερα
in the morning | am Morgen | le matin | por la mañana | утром | το πρωί
at night | in der Nacht | la nuit | por la noche | ночью | τη νύχτα
in winter | im Winter | en hiver | en invierno | зимой | τον χειμώνα
in summer | im Sommer | en été | en verano | летом | το καλοκαίρι
every day | jeden Tag | chaque jour | todos los días | каждый день | κάθε μέρα
"""
NUMBERS = """
two | zwei | deux | dos | два две два | δύο
three | drei | trois | tres | три | τρεις τρεις τρία
four | vier | quatre | cuatro | четыре | τέσσερις τέσσερις τέσσερα
five | fünf | cinq | cinco | пять | πέντε
six | sechs | six | seis | шесть | έξι
seven | sieben | sept | siete | семь | επτά
eight | acht | huit | ocho | восемь | οκτώ
nine | neun | neuf | nueve | девять | εννέα
ten | zehn | dix | diez | десять | δέκα
"""

# How sentences are built. {a} and {b} are nouns with their articles, {b_than} the form of {b} after "than".
PATTERNS = {
    "quality": "{a} is {adjective} | {a} ist {adjective} | {a} est {adjective} | {a} es {adjective} "
    "| {a} {adjective} | {a} είναι {adjective}",
    "place": "{a} is {place} | {a} ist {place} | {a} est {place} | {a} está {place} | {a} {place} | {a} είναι {place}",
    "action": "{a} {verb} {place} | {a} {verb} {place} | {a} {verb} {place} | {a} {verb} {place} "
    "| {a} {verb} {place} | {a} {verb} {place}",
    "timed": "{time}, {a} {verb} {place} | {time} {verb} {a} {place} | {time}, {a} {verb} {place} "
    "| {time} {a} {verb} {place} | {time} {a} {verb} {place} | {time} {a} {verb} {place}",
    "count": "here are {a} and {b} | hier sind {a} und {b} | voici {a} et {b} | aquí hay {a} y {b} "
    "| вот {a} и {b} | εδώ είναι {a} και {b}",
    "compare": "{a} is {adjective} than {b_than} | {a} ist {adjective} als {b_than} | {a} est {adjective} que {b_than} "
    "| {a} es {adjective} que {b_than} | {a} {adjective}, чем {b_than} | {a} είναι {adjective} από {b_than}",
}
QUESTIONS = {
    "quality": "What colour is {a}? | Welche Farbe hat {a}? | De quelle couleur est {a} ? | ¿De qué color es {a}? "
    "| Какого цвета {a}? | Τι χρώμα έχει {a};",
    "place": "Where is {a}? | Wo ist {a}? | Où est {a} ? | ¿Dónde está {a}? | Где {a}? | Πού είναι {a};",
    "count": "How many {many} are here? | Wie viele {many} sind hier? | Combien {of_many} y a-t-il ici ? "
    "| ¿{how_many} {many} hay aquí? | Сколько здесь {many}? | {how_many} {many} είναι εδώ;",
}
HOW_MANY = {"Spanish": "Cuántos Cuántas Cuántos", "Greek": "Πόσοι Πόσες Πόσα"}

NAMES = ("English", "German", "French", "Spanish", "Russian", "Greek")
# What a speaker of each language calls the six. {short} is that word without its last letter: по-английски.
CALLED = {
    "English": "English German French Spanish Russian Greek",
    "German": "Englisch Deutsch Französisch Spanisch Russisch Griechisch",
    "French": "anglais allemand français espagnol russe grec",
    "Spanish": "inglés alemán francés español ruso griego",
    "Russian": "английский немецкий французский испанский русский греческий",
    "Greek": "αγγλικά γερμανικά γαλλικά ισπανικά ρωσικά ελληνικά",
}
TRANSLATE = {
    "English": (
        "Translate into {into}: {text}",
        "What is this in {into}? {text}",
        "Say it in {into}: {text}",
        "{text}\nTranslate this into {into}.",
        "How do you say this in {into}? {text}",
        "Please write this in {into}: {text}",
        "Put this into {into}: {text}",
        "I need this in {into}: {text}",
    ),
    "German": ("Übersetze ins {into}e: {text}", "Wie heißt das auf {into}? {text}"),
    "French": ("Traduis en {into} : {text}", "Comment dit-on cela en {into} ? {text}"),
    "Spanish": ("Traduce al {into}: {text}", "¿Cómo se dice esto en {into}? {text}"),
    "Russian": ("Переведи на {into}: {text}", "Как это будет по-{short}? {text}"),
    "Greek": ("Μετάφρασε στα {into}: {text}", "Πώς λέγεται αυτό στα {into}; {text}"),
}
ANSWER = {
    "English": "Answer in {into}.",
    "German": "Antworte auf {into}.",
    "French": "Réponds en {into}.",
    "Spanish": "Responde en {into}.",
    "Russian": "Ответь по-{short}.",
    "Greek": "Απάντησε στα {into}.",
}
