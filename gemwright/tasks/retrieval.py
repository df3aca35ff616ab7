"""Retrieval: a text of many short records, and a question about one of them.

    Read these notes.
    The code of the falcon is 4821. The code of the amber bell is 7730. A small boat waited under the pine. ...
    What is the code of the falcon?

A record gives a key (a noun, or an adjective and a noun) a code of four digits or a city; sentences without records
stand between them. Within one text every key has one value, and no value comes twice. The key of the split is the text:
whatever is asked about a text of the test side, no training item holds it.

Lengths and distances are in words, with every mark, every number and each of its digits counted as a word too: about
the pieces of a vocabulary that knows the words and splits digits singly. A text of 900 holds 64 to 110 codes, or 60
cities, and fits, questions included, into 1,024 pieces.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from gemwright.tasks import words
from gemwright.tasks.item import RIGHT, Draw, Item, Verdict, wrong
from gemwright.tasks.judging import words_of
from gemwright.text.turns import Message

SKILL = "retrieval"
SHORTEST, MIDDLE, LONGEST = 60, 300, 900  # of a text; as many are drawn below the middle as above it
_MOST = 120  # records of a text
_TURN = 22  # an earlier question, its answer and their frame
_WORD, _DIGIT = re.compile(r"\w+|[^\w\s]"), re.compile(r"\d")


@dataclass(frozen=True)
class _Form:
    """How records read, and how they are asked about: one form per text."""

    records: tuple[str, ...]
    questions: tuple[str, ...]


_CODES = (
    _Form(
        ("The code of the {key} is {value}.",),
        (
            "What is the code of the {key}?",
            "Which code does the {key} have?",
            "Tell me the code of the {key}.",
            "Find the code of the {key}.",
            "The code of the {key} is?",
            "I need the code of the {key}.",
        ),
    ),
    _Form(
        ("The {key} has number {value}.",),
        (
            "What number does the {key} have?",
            "Which number belongs to the {key}?",
            "Tell me the number of the {key}.",
            "Find the number of the {key}.",
            "Give me the number of the {key}.",
            "Look up the number of the {key}.",
        ),
    ),
    _Form(
        ("{Key}: {value}.",),
        (
            "What stands behind {key}?",
            "What is the entry for {key}?",
            "Which number is given for {key}?",
            "Give me the value of {key}.",
            "Look up {key}.",
            "{Key}?",
        ),
    ),
)
_HOMES = (
    _Form(
        ("The {key} lives in {value}.",),
        (
            "Where does the {key} live?",
            "In which city does the {key} live?",
            "Which city is the home of the {key}?",
            "Tell me where the {key} lives.",
            "Find the city of the {key}.",
            "The {key} lives where?",
        ),
    ),
    _Form(
        ("The {key} came from {value}.", "From {value} came the {key}."),
        (
            "Where did the {key} come from?",
            "From which city did the {key} come?",
            "Which city did the {key} come from?",
            "Tell me where the {key} came from.",
            "What was the city of the {key}?",
            "The {key} came from where?",
        ),
    ),
)
_OPENINGS = ("Read these notes.", "Here are some notes.", "Keep this in mind.", "Text:", "Remember the following.", "")


@dataclass(frozen=True)
class _Text:
    """The sentences of a text in order, their sizes, its form, and its records as (key, value, number of their
    sentence)."""

    sentences: list[str]
    sizes: list[int]
    form: _Form
    records: list[tuple[str, str, int]]


def _keys(random: random.Random, count: int, doubles: bool) -> list[str]:
    """Different nouns, or adjective and noun. `doubles` lets a noun come again with another adjective."""
    if doubles:
        nouns = random.sample(words.NOUNS, max(count // 2, 1))
        pairs = [f"{adjective} {noun}" for noun in nouns for adjective in random.sample(words.ADJECTIVES, 2)]
        random.shuffle(pairs)
        return pairs[:count]
    nouns = random.sample(words.NOUNS, min(count, len(words.NOUNS)))
    return [f"{random.choice(words.ADJECTIVES)} {noun}" if random.random() < 0.5 else noun for noun in nouns]


def _values(random: random.Random, count: int, codes: bool) -> list[str]:
    if codes:
        return [str(number) for number in random.sample(range(1000, 10_000), count)]
    return random.sample(words.CITIES, count)


def size(sentence: str) -> int:
    """Words and numbers, with digits and marks counted one by one as well."""
    return len(_WORD.findall(sentence)) + len(_DIGIT.findall(sentence))


def _text(random: random.Random, length: int, codes: bool, doubles: bool) -> _Text:
    """A text of `length` or, by less than a sentence, more."""
    form = random.choice(_CODES if codes else _HOMES)
    keys = _keys(random, _MOST, doubles)
    values = _values(random, len(keys) if codes else len(words.CITIES), codes)
    sentences: list[str] = []
    sizes: list[int] = []
    records: list[tuple[str, str, int]] = []
    total, share = 0, random.uniform(0.95 if length > MIDDLE else 0.6, 1.0)  # a long text is dense with records
    while total < length or len(records) < 3:
        if len(records) < len(values) and random.random() < share:
            key, value = keys[len(records)], values[len(records)]
            records.append((key, value, len(sentences)))
            record = random.choice(form.records)
            sentences.append(record.format(key=key, Key=key.capitalize(), value=value))
        else:
            sentences.append(f"{words.sentence(random).capitalize()}.")
        sizes.append(size(sentences[-1]))
        total += sizes[-1]
    return _Text(sentences, sizes, form, records)


def _asked(random: random.Random, text: _Text, back: int | None) -> tuple[str, str, int]:
    """A record: any, or the one whose distance from the end comes nearest to `back`. With its distance."""
    behind = list(accumulate(reversed(text.sizes), initial=0))[::-1][1:]
    found = [(key, value, behind[place]) for key, value, place in text.records]
    if back is None:
        return random.choice(found)
    return min(found, key=lambda record: abs(record[2] - back))


def question(
    task: str,
    random: random.Random,
    *,
    words: int | None = None,
    back: int | None = None,
    codes: bool = True,
    doubles: bool = False,
    before: int = 0,
) -> Item:
    """A text of the size `words` (up to 900, but at least three records) and a question about a record of it.

    `back` is what should stand between the record and the end of the text, in the same measure (the nearest record
    is taken; the check holds its true distance). `codes` asks for a number of four digits, otherwise for a city. With
    `doubles` every noun comes twice, with different adjectives. `before` earlier questions are asked and answered on
    the way. Without `words` a length is drawn with which all of it fits into 1,024 pieces.

    Raises:
        ValueError: a length out of range.
    """
    bounds = random.choice(((SHORTEST, MIDDLE), (MIDDLE, LONGEST)))
    room = before * _TURN  # a length drawn here leaves it to the earlier questions
    length = max(random.randint(*bounds) - room, SHORTEST) if words is None else words
    if not 1 <= length <= LONGEST:
        raise ValueError(f"a text of {length} words was asked for: it can have 1 to {LONGEST}")
    text = _text(random, length, codes, doubles)
    key, value, distance = _asked(random, text, back)
    others = [record for record in text.records if record[0] != key]
    turns = [(each, answer) for each, answer, _ in random.sample(others, min(before, len(others)))]
    opening = random.choice(_OPENINGS)
    lead = "\n".join(filter(None, (opening, " ".join(text.sentences))))
    messages: list[Message] = []
    for each, answer in [*turns, (key, value)]:
        asked = random.choice(text.form.questions).format(key=each, Key=each.capitalize())
        messages.append(Message("user", asked if messages else f"{lead}\n{asked}"))
        messages.append(Message("model", answer))
    return Item(
        skill=SKILL,
        task=task,
        messages=tuple(messages[:-1]),
        ideal=value,
        key=f"text {hashlib.sha256(' '.join(text.sentences).encode()).hexdigest()}",
        check={"value": value, "others": [record[1] for record in others], "records": len(text.records)}
        | {"words": length, "back": distance},
    )


def _task(task: str, **options: bool | int) -> Draw:
    return partial(question, task, **options)


TASKS: dict[str, Draw] = {
    "code": _task("code"),
    "city": _task("city", codes=False),
    "doubles": _task("doubles", doubles=True),
    "again": _task("again", before=3),
}


def judge(item: Item, answer: str) -> Verdict:
    """The answer must name the value and no other value of the text."""
    named = words_of(answer)
    if item.check["value"].lower() not in named:
        return wrong(f"{answer.strip()[:60]!r} does not name {item.check['value']}")
    if others := _others(named, item.check["others"], item.check["value"]):
        return wrong(f"also names {others[0]}")
    return RIGHT


def _others(named: Sequence[str], values: Sequence[str], value: str) -> list[str]:
    """Other values of the text, or any other number, among the words of an answer."""
    barred = {other.lower() for other in values}
    return [word for word in named if word != value.lower() and (word in barred or word.isdigit())]
