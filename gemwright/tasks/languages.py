"""Six languages in three scripts: translation of short sentences, and answers in the language that is asked for.

English, German, French, Spanish, Russian and Greek, each into each. Every sentence has one translation here, and the
judge wants it to the letter, with or without its full stop. The key is the meaning of what is to be said: what is
tested in one language was trained on in none.
"""

from __future__ import annotations

import random

from gemwright.tasks import lexicon
from gemwright.tasks.grammar import LANGUAGES, Language, Meaning, ask, names, say
from gemwright.tasks.item import Draw, Item, Verdict, user
from gemwright.tasks.judging import judge_sentence

SKILL = "languages"

_ANIMALS, _THINGS, _FIXED = names(lexicon.ANIMALS), names(lexicon.THINGS), names(lexicon.FIXED)
_COLOURS, _QUALITIES = names(lexicon.COLOURS), names(lexicon.QUALITIES)
_VERBS, _PLACES, _TIMES = names(lexicon.VERBS), names(lexicon.PLACES), names(lexicon.TIMES)
_NUMBERS, _COMPARED = names(lexicon.NUMBERS), names(lexicon.COMPARED)
_KINDS = ("quality", "place", "compare", "action", "timed", "count")
_ANSWER_IN = ("Answer in {into}.", "Say it in {into}.", "Reply in {into}.", "Your answer must be in {into}.")
_BIGGER = (
    "Which is bigger, {a} or {b}?",
    "Which animal is bigger: {a} or {b}?",
    "Compare {a} with {b}: which one is bigger?",
    "Of {a} and {b}, which is the bigger animal?",
    "What is bigger, {a} or {b}?",
    "Tell me which is bigger, {a} or {b}.",
)
# From small to large; two of one row are not compared.
_SIZES = (
    ("bee",),
    ("mouse", "frog"),
    ("cat", "rabbit", "duck"),
    ("goat", "sheep", "wolf"),
    ("cow", "horse", "bear"),
    ("elephant",),
)


def _meaning(random: random.Random, kind: str) -> Meaning:
    animal, other = random.sample(_ANIMALS, 2)
    colour, verb, place = random.choice(_COLOURS), random.choice(_VERBS), random.choice(_PLACES)
    if kind == "quality":
        return kind, random.choice(_ANIMALS + _THINGS + _FIXED), random.choice(_COLOURS + _QUALITIES)
    if kind == "place":
        return kind, random.choice(_ANIMALS + _THINGS), place
    if kind == "compare":
        return kind, animal, random.choice(_COMPARED), other
    if kind == "action":
        return kind, animal, colour, verb, place
    if kind == "timed":
        return kind, random.choice(_TIMES), animal, colour, verb, place
    one, other = random.sample(_ANIMALS + _THINGS + _FIXED, 2)
    return kind, random.choice(_NUMBERS), one, random.choice(_NUMBERS), other


def called(language: str, by: str) -> str:
    """What the speakers of one language call another."""
    return lexicon.CALLED[by].split()[lexicon.NAMES.index(language)]


def _asked(template: str, target: str, by: str, text: str = "") -> str:
    into = called(target, by)
    return template.format(into=into, short=into[:-1], text=text)


def _item(task: str, text: str, meaning: Meaning, target: str) -> Item:
    """The question whose answer says the meaning in a language."""
    ideal = say(LANGUAGES[target], meaning)
    key = f"say {' '.join(meaning)}"
    return Item(skill=SKILL, task=task, messages=user(text), ideal=ideal, key=key, check={"sentence": ideal})


def _translate(random: random.Random, task: str, source: str, target: str) -> Item:
    meaning = _meaning(random, random.choice(_KINDS))
    by = source if random.random() < 0.3 else "English"
    text = _asked(random.choice(lexicon.TRANSLATE[by]), target, by, say(LANGUAGES[source], meaning))
    return _item(task, text, meaning, target)


def from_english(random: random.Random) -> Item:
    """An English sentence into one of the others."""
    return _translate(random, "from_english", "English", random.choice(lexicon.NAMES[1:]))


def into_english(random: random.Random) -> Item:
    """A sentence of another language into English."""
    return _translate(random, "into_english", random.choice(lexicon.NAMES[1:]), "English")


def between(random: random.Random) -> Item:
    """From one of the others into another, without English."""
    source, target = random.sample(lexicon.NAMES[1:], 2)
    return _translate(random, "between", source, target)


def _two(random: random.Random, kind: str) -> tuple[Meaning, Meaning]:
    """Two statements of a kind about different nouns."""
    one, other = _meaning(random, kind), _meaning(random, kind)
    while other[1] == one[1]:
        other = _meaning(random, kind)
    return one, other


def _answer_in(random: random.Random, told: Language, target: str) -> str:
    """The demand for an answer in a language, in English or in the language of the text."""
    if random.random() < 0.5:
        return _asked(random.choice(_ANSWER_IN), target, "English")
    return _asked(lexicon.ANSWER[told.name], target, told.name)


def _about_text(kind: str, task: str) -> Draw:
    def draw(random: random.Random) -> Item:
        told, target = LANGUAGES[random.choice(lexicon.NAMES)], random.choice(lexicon.NAMES)
        pair = _two(random, kind)
        while kind == "quality" and not all(meaning[2] in _COLOURS for meaning in pair):
            pair = _two(random, kind)
        asked = random.choice(pair)
        parts = [say(told, meaning) for meaning in pair] + [ask(told, kind, asked[1])]
        return _item(task, " ".join([*parts, _answer_in(random, told, target)]), asked, target)

    return draw


def answer_count(random: random.Random) -> Item:
    """How many there are of one of two things, in any language."""
    told, target = LANGUAGES[random.choice(lexicon.NAMES)], random.choice(lexicon.NAMES)
    meaning = _meaning(random, "count")
    _, number, noun, other_number, other = meaning
    asked = random.choice((("number", number, noun), ("number", other_number, other)))
    parts = (say(told, meaning), ask(told, "count", asked[2]), _answer_in(random, told, target))
    return _item("answer_count", " ".join(parts), asked, target)


def answer_bigger(random: random.Random) -> Item:
    """Which of two animals is bigger, in any language: asked in English, nothing told."""
    small, large = (random.choice(row) for row in sorted(random.sample(_SIZES, 2), key=_SIZES.index))
    target, english = random.choice(lexicon.NAMES), LANGUAGES["English"]
    shown = [english.the(english.nouns[name]) for name in random.sample((small, large), 2)]
    question = random.choice(_BIGGER).format(a=shown[0], b=shown[1])
    text = f"{question} {_asked(random.choice(_ANSWER_IN), target, 'English')}"
    return _item("answer_bigger", text, ("compare", large, "bigger", small), target)


TASKS: dict[str, Draw] = {
    "from_english": from_english,
    "into_english": into_english,
    "between": between,
    "answer_colour": _about_text("quality", "answer_colour"),
    "answer_place": _about_text("place", "answer_place"),
    "answer_count": answer_count,
    "answer_bigger": answer_bigger,
}


def judge(item: Item, answer: str) -> Verdict:
    """The sentence to the letter; its full stop may be missing."""
    return judge_sentence(answer, item.check["sentence"])
