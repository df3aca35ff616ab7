"""The sentences of six languages: agreement, articles, counting, and one translation for each."""

from __future__ import annotations

import random
import unicodedata
from collections import Counter

import pytest

from gemwright.tasks import languages, lexicon
from gemwright.tasks.grammar import LANGUAGES, ask, names, say
from gemwright.tasks.skills import judge
from gemwright.tasks.split import items

SCRIPTS = {"Russian": "CYRILLIC", "Greek": "GREEK"}
# Written by hand, in the order of lexicon.NAMES.
SENTENCES = {
    ("quality", "bird", "beautiful"): (
        "The bird is beautiful.",
        "Der Vogel ist schön.",
        "L'oiseau est beau.",
        "El pájaro es bonito.",
        "Птица красивая.",
        "Το πουλί είναι όμορφο.",
    ),
    ("quality", "flower", "white"): (
        "The flower is white.",
        "Die Blume ist weiß.",
        "La fleur est blanche.",
        "La flor es blanca.",
        "Цветок белый.",
        "Το λουλούδι είναι άσπρο.",
    ),
    ("quality", "window", "blue"): (
        "The window is blue.",
        "Das Fenster ist blau.",
        "La fenêtre est bleue.",
        "La ventana es azul.",
        "Окно синее.",
        "Το παράθυρο είναι μπλε.",
    ),
    ("place", "key", "under the tree"): (
        "The key is under the tree.",
        "Der Schlüssel ist unter dem Baum.",
        "La clé est sous l'arbre.",
        "La llave está bajo el árbol.",
        "Ключ под деревом.",
        "Το κλειδί είναι κάτω από το δέντρο.",
    ),
    ("compare", "horse", "bigger", "goat"): (
        "The horse is bigger than the goat.",
        "Das Pferd ist größer als die Ziege.",
        "Le cheval est plus grand que la chèvre.",
        "El caballo es más grande que la cabra.",
        "Лошадь больше, чем коза.",
        "Το άλογο είναι μεγαλύτερο από την κατσίκα.",
    ),
    ("compare", "bee", "smaller", "wolf"): (
        "The bee is smaller than the wolf.",
        "Die Biene ist kleiner als der Wolf.",
        "L'abeille est plus petite que le loup.",
        "La abeja es más pequeña que el lobo.",
        "Пчела меньше, чем волк.",
        "Η μέλισσα είναι μικρότερη από τον λύκο.",
    ),
    ("action", "cow", "black", "waits", "by the river"): (
        "The black cow waits by the river.",
        "Die schwarze Kuh wartet am Fluss.",
        "La vache noire attend près de la rivière.",
        "La vaca negra espera junto al río.",
        "Чёрная корова ждёт у реки.",
        "Η μαύρη αγελάδα περιμένει κοντά στο ποτάμι.",
    ),
    ("timed", "in winter", "elephant", "grey", "sleeps", "in the house"): (
        "In winter, the grey elephant sleeps in the house.",
        "Im Winter schläft der graue Elefant im Haus.",
        "En hiver, l'éléphant gris dort dans la maison.",
        "En invierno el elefante gris duerme en la casa.",
        "Зимой серый слон спит в доме.",
        "Τον χειμώνα ο γκρίζος ελέφαντας κοιμάται στο σπίτι.",
    ),
    ("count", "two", "cow", "seven", "fox"): (
        "Here are two cows and seven foxes.",
        "Hier sind zwei Kühe und sieben Füchse.",
        "Voici deux vaches et sept renards.",
        "Aquí hay dos vacas y siete zorros.",
        "Вот две коровы и семь лис.",
        "Εδώ είναι δύο αγελάδες και επτά αλεπούδες.",
    ),
    ("count", "two", "window", "three", "horse"): (
        "Here are two windows and three horses.",
        "Hier sind zwei Fenster und drei Pferde.",
        "Voici deux fenêtres et trois chevaux.",
        "Aquí hay dos ventanas y tres caballos.",
        "Вот два окна и три лошади.",
        "Εδώ είναι δύο παράθυρα και τρία άλογα.",
    ),
    ("count", "four", "frog", "four", "flower"): (
        "Here are four frogs and four flowers.",
        "Hier sind vier Frösche und vier Blumen.",
        "Voici quatre grenouilles et quatre fleurs.",
        "Aquí hay cuatro ranas y cuatro flores.",
        "Вот четыре лягушки и четыре цветка.",
        "Εδώ είναι τέσσερις βάτραχοι και τέσσερα λουλούδια.",
    ),
    ("number", "six", "tree"): (
        "Six trees.",
        "Sechs Bäume.",
        "Six arbres.",
        "Seis árboles.",
        "Шесть деревьев.",
        "Έξι δέντρα.",
    ),
}


@pytest.mark.parametrize("meaning", SENTENCES)
def test_a_meaning_is_said_rightly_in_six_languages(meaning: tuple[str, ...]) -> None:
    assert tuple(say(LANGUAGES[name], meaning) for name in lexicon.NAMES) == SENTENCES[meaning]


def test_questions_are_asked_rightly_in_six_languages() -> None:
    assert [ask(LANGUAGES[name], "count", "bear") for name in lexicon.NAMES] == [
        "How many bears are here?",
        "Wie viele Bären sind hier?",
        "Combien d'ours y a-t-il ici ?",
        "¿Cuántos osos hay aquí?",
        "Сколько здесь медведей?",
        "Πόσες αρκούδες είναι εδώ;",
    ]
    assert [ask(LANGUAGES[name], "quality", "cup") for name in lexicon.NAMES] == [
        "What colour is the cup?",
        "Welche Farbe hat die Tasse?",
        "De quelle couleur est la tasse ?",
        "¿De qué color es la taza?",
        "Какого цвета чашка?",
        "Τι χρώμα έχει το φλιτζάνι;",
    ]


@pytest.mark.parametrize("name", lexicon.NAMES)
def test_no_two_ideas_share_a_word_so_every_sentence_has_one_translation(name: str) -> None:
    language = LANGUAGES[name]
    owners: dict[str, set[str]] = {}
    for english, noun in language.nouns.items():
        for form in (noun.one, noun.few, noun.many):
            owners.setdefault(form, set()).add(english)
    assert [form for form, nouns in owners.items() if len(nouns) > 1] == []
    words = Counter(form for forms in language.words.values() for form in set(forms))
    assert [word for word, count in words.items() if count > 1] == []


@pytest.mark.parametrize("name", lexicon.NAMES)
def test_every_word_is_written_in_its_languages_own_letters(name: str) -> None:
    language = LANGUAGES[name]
    script = SCRIPTS.get(name, "LATIN")
    forms = [form for noun in language.nouns.values() for form in (noun.one, noun.few, noun.many)]
    forms += [form for each in language.words.values() for form in each]
    for form in forms:
        assert {unicodedata.name(letter).split()[0] for letter in form if letter.isalpha()} == {script}, form


@pytest.mark.parametrize("name", lexicon.NAMES)
def test_every_language_has_every_word(name: str) -> None:
    assert set(LANGUAGES[name].nouns) == set(LANGUAGES["English"].nouns)
    assert set(LANGUAGES[name].words) == set(LANGUAGES["English"].words)
    assert len(LANGUAGES[name].nouns) == 37


def test_all_directions_between_the_six_are_drawn() -> None:
    targets = {item.check["sentence"][:1] for item in items("languages", "train", count=300)}
    scripts = {unicodedata.name(letter).split()[0] for letter in targets}
    assert scripts == {"LATIN", "CYRILLIC", "GREEK"}


def test_the_key_is_the_meaning_whatever_the_languages_and_the_wording() -> None:
    found: dict[str, set[str]] = {}
    for item in items("languages/into_english", "train", count=600):
        found.setdefault(item.ideal, set()).add(item.key)
    assert all(len(keys) == 1 for keys in found.values())
    assert any(" quality " in key for keys in found.values() for key in keys)


def test_an_answer_about_a_text_is_true_in_the_text() -> None:
    for number in range(100):
        item = languages.TASKS["answer_colour"](random.Random(number))
        _, _, noun, colour = item.key.split()
        text = item.messages[0].text
        told = {name: say(LANGUAGES[name], ("quality", noun, colour)) for name in lexicon.NAMES}
        assert any(sentence in text for sentence in told.values())


def test_the_bigger_animal_is_the_bigger_one() -> None:
    order = {name: place for place, row in enumerate(languages._SIZES) for name in row}
    for number in range(100):
        *_, one, _, other = languages.TASKS["answer_bigger"](random.Random(number)).key.split()
        assert order[one] > order[other]


@pytest.mark.parametrize("change", [str.upper, str.lower, lambda text: text.replace(" ", "  ", 1)])
def test_a_translation_in_another_case_or_spacing_is_wrong(change) -> None:
    for item in items("languages/between", "train", count=20):
        assert judge(item, change(item.ideal)).score == 0.0


def test_the_tables_rows_are_whole() -> None:
    for table in (lexicon.ANIMALS, lexicon.THINGS, lexicon.FIXED, lexicon.COLOURS, lexicon.VERBS, lexicon.PLACES):
        assert all(row.count("|") == 5 for row in table.strip().splitlines())
        assert len(set(names(table))) == len(names(table))
