"""Sentences of six languages from what they mean.

A meaning is a kind of sentence and the English names of what it is about: ("quality", "dog", "white"). `say` puts it
into a language: articles, the order of words, and the agreement of adjectives and numbers with nouns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gemwright.tasks import lexicon

Meaning = tuple[str, ...]


@dataclass(frozen=True)
class Noun:
    """A noun of one language: its gender (m, f, n), and its forms for one, for two to four, and for five and more."""

    gender: str
    one: str
    few: str
    many: str


@dataclass(frozen=True)
class Language:
    """The words of one language by their English names, and how it builds what they do not say themselves.

    `words` have three forms: masculine, feminine, neuter. `the` gives a noun its article, `the_than` the form of that
    after "than", `described` the noun with its article and a colour.
    """

    name: str
    nouns: Mapping[str, Noun]
    words: Mapping[str, tuple[str, str, str]]
    patterns: Mapping[str, str]
    the: Callable[[Noun], str]
    the_than: Callable[[Noun], str]
    described: Callable[[Noun, str], str]


def _rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in row.split(" | ")] for row in table.strip().splitlines()]


def _nouns(place: int) -> dict[str, Noun]:
    nouns = {}
    for row in _rows(lexicon.ANIMALS + lexicon.THINGS.lstrip() + lexicon.FIXED.lstrip()):
        english = row[0].split()
        gender, one, *more = row[place].split() if place else ("n", *english)
        nouns[english[0]] = Noun(gender, one, more[0], more[-1])
    return nouns


def _words(place: int) -> dict[str, tuple[str, str, str]]:
    """Phrases (verbs, places, times) have one form for all genders; French and Spanish have the masculine as neuter."""
    found: dict[str, tuple[str, str, str]] = {}
    for table in (lexicon.VERBS, lexicon.PLACES, lexicon.TIMES):
        found |= {row[0]: (row[place], row[place], row[place]) for row in _rows(table)}
    for table in (lexicon.COLOURS, lexicon.QUALITIES, lexicon.COMPARED, lexicon.NUMBERS):
        for row in _rows(table):
            forms = [form.replace("_", " ") for form in row[place].split()]
            found[row[0]] = (forms[0], forms[1 % len(forms)], forms[2] if len(forms) == 3 else forms[0])
    return found


def _gendered(masculine: str, feminine: str, neuter: str = "") -> Callable[[Noun], str]:
    articles = {"m": masculine, "f": feminine, "n": neuter}
    return lambda noun: f"{articles[noun.gender]} {noun.one}"


def _french(noun: Noun) -> str:
    if noun.one[0] in "aeiouéê":
        return f"l'{noun.one}"
    return _gendered("le", "la")(noun)


def _greek_than(noun: Noun) -> str:
    """The accusative. Masculine nouns lose their last letter; the feminine article keeps its ν before vowels and stops
    only."""
    if noun.gender == "m":
        return f"τον {noun.one.removesuffix('ς')}"
    if noun.gender == "n":
        return f"το {noun.one}"
    return f"{'την' if noun.one[0] in 'αάεέηήιίοόυύωώκπτξψ' else 'τη'} {noun.one}"


def _behind(the: Callable[[Noun], str]) -> Callable[[Noun, str], str]:
    return lambda noun, colour: f"{the(noun)} {colour}"


def _between(the: Callable[[Noun], str], ending: str = "") -> Callable[[Noun, str], str]:
    def described(noun: Noun, colour: str) -> str:
        article, name = the(noun).split(" ")
        return f"{article} {colour}{ending} {name}"

    return described


def _bare(noun: Noun) -> str:
    return noun.one


def _language(
    name: str,
    the: Callable[[Noun], str],
    described: Callable[[Noun, str], str],
    the_than: Callable[[Noun], str] | None = None,
) -> Language:
    place = lexicon.NAMES.index(name)
    patterns = {kind: _rows(row)[0][place] for kind, row in lexicon.PATTERNS.items()}
    return Language(name, _nouns(place), _words(place), patterns, the, the_than or the, described)


_ENGLISH = _gendered("the", "the", "the")
_GERMAN = _gendered("der", "die", "das")
_SPANISH = _gendered("el", "la")
_GREEK = _gendered("ο", "η", "το")
LANGUAGES: dict[str, Language] = {
    "English": _language("English", _ENGLISH, _between(_ENGLISH)),
    "German": _language("German", _GERMAN, _between(_GERMAN, "e")),
    "French": _language("French", _french, _behind(_french)),
    "Spanish": _language("Spanish", _SPANISH, _behind(_SPANISH)),
    "Russian": _language("Russian", _bare, lambda noun, colour: f"{colour} {noun.one}"),
    "Greek": _language("Greek", _GREEK, _between(_GREEK), _greek_than),
}


def names(table: str) -> tuple[str, ...]:
    """The English names of a table's rows (the singular, for nouns)."""
    nouns = table in (lexicon.ANIMALS, lexicon.THINGS, lexicon.FIXED)
    return tuple(row[0].split()[0] if nouns else row[0] for row in _rows(table))


def form(language: Language, word: str, noun: str = "") -> str:
    """A word in the form that agrees with a noun."""
    masculine, feminine, neuter = language.words[word]
    gender = language.nouns[noun].gender if noun else "m"
    return {"m": masculine, "f": feminine, "n": neuter}[gender]


def counted(language: Language, number: str, noun: str) -> str:
    """ "two dogs" """
    few = number in ("two", "three", "four")
    return f"{form(language, number, noun)} {language.nouns[noun].few if few else language.nouns[noun].many}"


def say(language: Language, meaning: Meaning) -> str:
    """The sentence, with a capital and a full stop. Meanings are

    ("quality", noun, adjective), ("place", noun, place), ("compare", noun, "bigger" or "smaller", noun),
    ("action", noun, colour, verb, place), ("timed", time, noun, colour, verb, place),
    ("count", number, noun, number, noun) and ("number", number, noun), which is no sentence but an answer.
    """
    kind, *ideas = meaning
    if kind == "number":
        return finish(counted(language, *ideas))
    slots: dict[str, str] = {}
    if kind == "count":
        slots = {"a": counted(language, *ideas[:2]), "b": counted(language, *ideas[2:])}
    elif kind in ("action", "timed"):
        *time, noun, colour, verb, place = ideas
        slots["a"] = language.described(language.nouns[noun], form(language, colour, noun))
        slots |= {"verb": form(language, verb), "place": form(language, place)}
        slots |= {"time": form(language, time[0])} if time else {}
    else:
        noun, word, *other = ideas
        slots = {"a": language.the(language.nouns[noun])}
        slots["place" if kind == "place" else "adjective"] = form(language, word, noun)
        slots |= {"b_than": language.the_than(language.nouns[other[0]])} if other else {}
    return finish(language.patterns[kind].format(**slots))


def ask(language: Language, kind: str, noun: str) -> str:
    """What colour is it ("quality"), where is it ("place"), how many are there ("count")?"""
    place = lexicon.NAMES.index(language.name)
    it = language.nouns[noun]
    how_many = lexicon.HOW_MANY.get(language.name, "").split()
    slots = {"a": language.the(it), "many": it.many}
    slots["of_many"] = f"d'{it.many}" if it.many[0] in "aeiouéê" else f"de {it.many}"
    slots["how_many"] = how_many["mfn".index(it.gender)] if how_many else ""
    return _rows(lexicon.QUESTIONS[kind])[0][place].format(**slots)


def finish(text: str) -> str:
    """A capital at the beginning and a full stop at the end."""
    return f"{text[0].upper()}{text[1:]}."
