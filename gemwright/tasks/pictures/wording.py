"""How the pictures are asked about, and the names of shapes and colours in six languages."""

from __future__ import annotations

from dataclasses import replace

from gemwright.tasks import lexicon
from gemwright.tasks.grammar import LANGUAGES, Language, Noun, form
from gemwright.tasks.pictures.scene import SHAPES

# ruff: noqa: E501 (a row per idea reads best on one line)

# As the nouns in lexicon.py; the row of a shape stands in the order of `SHAPES`.
_NOUNS = """
circle circles | m Kreis Kreise | m cercle cercles | m círculo círculos | m круг круга кругов | m κύκλος κύκλοι
square squares | n Quadrat Quadrate | m carré carrés | m cuadrado cuadrados | m квадрат квадрата квадратов | n τετράγωνο τετράγωνα
triangle triangles | n Dreieck Dreiecke | m triangle triangles | m triángulo triángulos | m треугольник треугольника треугольников | n τρίγωνο τρίγωνα
diamond diamonds | f Raute Rauten | m losange losanges | m rombo rombos | m ромб ромба ромбов | m ρόμβος ρόμβοι
star stars | m Stern Sterne | f étoile étoiles | f estrella estrellas | f звезда звезды звёзд | n αστέρι αστέρια
cross crosses | n Kreuz Kreuze | f croix croix | f cruz cruces | m крест креста крестов | m σταυρός σταυροί
heart hearts | n Herz Herzen | m cœur cœurs | m corazón corazones | n сердце сердца сердец | f καρδιά καρδιές
"""

# {a} is the shape with its article, {A} the same with a capital.
COLOUR = {
    "English": (
        "What colour is {a}?",
        "Which colour does {a} have?",
        "Tell me the colour of {a}.",
        "What is the colour of {a}?",
        "Name the colour of {a}.",
        "{A}: what colour is it?",
    ),
    "German": ("Welche Farbe hat {a}?", "Sag mir, welche Farbe {a} hat.", "Was für eine Farbe hat {a}?"),
    "French": ("De quelle couleur est {a} ?", "Dis-moi de quelle couleur est {a}.", "Quelle couleur a {a} ?"),
    "Spanish": ("¿De qué color es {a}?", "Dime de qué color es {a}.", "¿Qué color tiene {a}?"),
    "Russian": ("Какого цвета {a}?", "Скажи, какого цвета {a}.", "{A}: какого цвета?"),
    "Greek": ("Τι χρώμα έχει {a};", "Πες μου τι χρώμα έχει {a}.", "Ποιο χρώμα έχει {a};"),
}
# {m}, {f} and {n} are the colour, masculine, feminine and neuter.
SHAPE = {
    "English": (
        "What shape is {m}?",
        "Which shape is {m}?",
        "What shape does the {m} thing have?",
        "Name the {m} shape.",
        "Tell me which shape is {m}.",
        "The {m} thing has which shape?",
    ),
    "German": ("Welche Form ist {m}?", "Sag mir, welche Form {m} ist.", "Nenne die Form, die {m} ist."),
    "French": ("Quelle forme est {f} ?", "Dis-moi quelle forme est {f}.", "Nomme la forme {f}."),
    "Spanish": ("¿Qué figura es {f}?", "Dime qué figura es {f}.", "Nombra la figura {f}."),
    "Russian": ("Какая фигура здесь {f}?", "Скажи, какая фигура здесь {f}.", "Назови фигуру: она {f}."),
    "Greek": ("Ποιο σχήμα είναι {n};", "Πες μου ποιο σχήμα είναι {n}.", "Ποιο είναι το {n} σχήμα;"),
}
# {many} are the shapes after a number of five and more, {of_many} the French for "of them".
COUNT = {
    "English": (
        "How many {many} are here?",
        "How many {many} are there in the picture?",
        "Count the {many}.",
        "What is the number of {many}?",
        "Tell me how many {many} you see.",
        "{Many}: how many are there?",
    ),
    "German": ("Wie viele {many} sind hier?", "Wie viele {many} siehst du?", "Zähle: Wie viele {many} sind es?"),
    "French": ("Combien {of_many} y a-t-il ici ?", "Combien {of_many} vois-tu ?", "Dis-moi combien {of_many} il y a."),
    "Spanish": ("¿{How_many} {many} hay aquí?", "¿{How_many} {many} ves?", "Dime {how_many} {many} hay."),
    "Russian": ("Сколько здесь {many}?", "Сколько {many} на картинке?", "Посчитай, сколько здесь {many}."),
    "Greek": ("{How_many} {many} είναι εδώ;", "{How_many} {many} υπάρχουν;", "Πες μου {how_many} {many} υπάρχουν."),
}

# English alone. {a} and {b} are things ("the red circle").
BACKGROUND = (
    "What colour is the background?",
    "Which colour does the background have?",
    "Tell me the colour of the background.",
    "The background has which colour?",
    "Name the background colour.",
    "On what colour are the shapes?",
)
# {things} is "red things" or "shapes".
COUNT_THINGS = (
    "How many {things} are here?",
    "How many {things} are there in the picture?",
    "Count the {things}.",
    "What is the number of {things}?",
    "Tell me how many {things} you see.",
    "The picture shows how many {things}?",
)
# {choice} is "on the left or on the right", "left or right of the blue square" and the like.
WHERE = (
    "Is {a} {choice}?",
    "Where is {a}, {choice}?",
    "{A}: is it {choice}?",
    "Look at {a}. Is it {choice}?",
    "Tell me where {a} is: {choice}.",
    "Find {a} and say if it is {choice}.",
)
LARGER = (
    "Which is {more}, {a} or {b}?",
    "Which one is {more}: {a} or {b}?",
    "Compare {a} with {b}: which is {more}?",
    "Of {a} and {b}, which is {more}?",
    "Tell me which is {more}, {a} or {b}.",
    "What is {more} here, {a} or {b}?",
)
# {one} is "a red circle".
EXISTS = (
    "Is there {one}?",
    "Is there {one} in the picture?",
    "Do you see {one}?",
    "Does the picture show {one}?",
    "Can you find {one} here?",
    "{One}: is there any?",
)
EXTREME_BAR = (
    "What colour is the {most} bar?",
    "Which colour does the {most} bar have?",
    "Tell me the colour of the {most} bar.",
    "Which bar is the {most}?",
    "Name the {most} bar.",
    "Of all bars, which is the {most}?",
)
# {bar} is "red bar".
BAR_VALUE = (
    "How high is the {bar}?",
    "What is the value of the {bar}?",
    "Which value does the {bar} have?",
    "Read the value of the {bar}.",
    "Tell me how high the {bar} is.",
    "The {bar} ends at which number?",
)
READ = (
    "What is written here?",
    "Read what is written.",
    "What does the picture say?",
    "Tell me what you read.",
    "What can you read in the picture?",
    "Which text do you see?",
)
# {place} is "at the top", "on the left" and the like.
READ_AT = (
    "What is written {place}?",
    "Read what is written {place}.",
    "What does it say {place}?",
    "Tell me what you read {place}.",
    "Which text do you see {place}?",
    "{Place}, what is written?",
)


def _noun(cell: str, place: int) -> Noun:
    gender, one, *more = cell.split() if place else ("n", *cell.split())
    return Noun(gender, one, more[0], more[-1])


def _with_shapes(place: int, language: Language) -> Language:
    rows = [row.split(" | ") for row in _NOUNS.strip().splitlines()]
    return replace(language, nouns={shape: _noun(row[place], place) for shape, row in zip(SHAPES, rows, strict=True)})


SPOKEN: dict[str, Language] = {name: _with_shapes(place, LANGUAGES[name]) for place, name in enumerate(lexicon.NAMES)}
"""The six languages, with the shapes as their nouns."""


def filled(template: str, **slots: str) -> str:
    """The question. A slot that is named with a capital gets one: {A} is {a} at the beginning of a sentence."""
    capital = {name.capitalize(): text[0].upper() + text[1:] for name, text in slots.items() if text}
    return template.format(**(capital | slots))


def about_shape(template: str, language: Language, shape: str) -> str:
    """A question about one shape (`COLOUR`) or all of a shape (`COUNT`)."""
    noun = language.nouns[shape]
    how_many = lexicon.HOW_MANY.get(language.name, "").lower().split()
    slots = {"a": language.the(noun), "many": noun.many}
    slots["of_many"] = f"d'{noun.many}" if noun.many[0] in "aeiouéê" else f"de {noun.many}"
    slots["how_many"] = how_many["mfn".index(noun.gender)] if how_many else ""
    return filled(template, **slots)


def about_colour(template: str, language: Language, colour: str) -> str:
    """A question about the thing of a colour (`SHAPE`)."""
    return template.format(**dict(zip("mfn", language.words[colour], strict=True)))


def colour_of(language: Language, colour: str, shape: str) -> str:
    """The colour of a shape, as the answer to what colour it has: in Greek neuter as "colour" is, else as the shape
    demands."""
    return language.words[colour][2] if language.name == "Greek" else form(language, colour, shape)
