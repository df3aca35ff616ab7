"""Instruction following: a text, and what to do with it to the letter: case, count, order, layout, JSON, constraints.

An operation turns a list of words into a text or another list; a task is one operation, or two in a row. Those have
exactly one right answer, which is judged as it stands. Sentences to be made up, words to be chosen and JSON are judged
by what they must hold. The key is the words without their order, whatever is to be done with them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gemwright.tasks import constraints, words
from gemwright.tasks.constraints import SKILL
from gemwright.tasks.item import Draw, Item, Verdict, normalise, user, wrong
from gemwright.tasks.judging import judge_text

Line = list[str]


@dataclass(frozen=True)
class Operation:
    """What can be asked of words: how it is said (imperative, lower case, `{n}` for a number), and doing it.

    `numbers` are the ones that can stand for n. An operation that `lays_out` gives lines that no other can follow.
    """

    clauses: tuple[str, ...]
    apply: Callable[[Line, int], str]
    numbers: Sequence[int] = (0,)
    lays_out: bool = False


def _plain(change: Callable[[Line, int], Line]) -> Callable[[Line, int], str]:
    return lambda line, n: " ".join(change(line, n))


OPERATIONS: dict[str, Operation] = {
    "upper": Operation(
        ("write everything in upper case", "use capital letters only", "put it all in capitals"),
        _plain(lambda line, n: [word.upper() for word in line]),
    ),
    "title": Operation(
        ("capitalise each word", "begin each word with a capital letter", "give every word a capital first letter"),
        _plain(lambda line, n: [word.capitalize() for word in line]),
    ),
    "first": Operation(
        ("keep only the first {n} words", "take the first {n} words", "drop everything after the first {n} words"),
        _plain(lambda line, n: line[:n]),
        numbers=(2, 3, 4),
    ),
    "last": Operation(
        ("keep only the last {n} words", "take the last {n} words", "drop everything before the last {n} words"),
        _plain(lambda line, n: line[-n:]),
        numbers=(2, 3, 4),
    ),
    "reverse": Operation(
        ("reverse the order of the words", "write the words from last to first", "turn the order of the words around"),
        _plain(lambda line, n: line[::-1]),
    ),
    "sort": Operation(
        ("sort the words alphabetically", "put the words in alphabetical order", "order the words from A to Z"),
        _plain(lambda line, n: sorted(line, key=str.lower)),
    ),
    "repeat": Operation(
        ("write it {n} times, separated by commas", "repeat it {n} times with commas", "say it {n} times with commas"),
        lambda line, n: ", ".join([" ".join(line)] * n),
        numbers=(2, 3, 4),
        lays_out=True,
    ),
    "numbered": Operation(
        (
            "make a numbered list of the words",
            "number the words, one on each line",
            "write the words as a numbered list",
        ),
        lambda line, n: "\n".join(f"{place}. {word}" for place, word in enumerate(line, start=1)),
        lays_out=True,
    ),
    "bullets": Operation(
        ("make a list with dashes", "put each word on its own line after a dash", "write the words as a dashed list"),
        lambda line, n: "\n".join(f"- {word}" for word in line),
        lays_out=True,
    ),
    "quote": Operation(
        ("put it in quotation marks", "write it between quotation marks", "add quotation marks around it"),
        lambda line, n: f'"{" ".join(line)}"',
        lays_out=True,
    ),
    "commas": Operation(
        ("put commas between the words", "separate the words by commas", "write the words with commas between them"),
        lambda line, n: ", ".join(line),
        lays_out=True,
    ),
    "json_list": Operation(
        ("write the words as a JSON list", "make a JSON list of the words", "give the words as a JSON array"),
        lambda line, n: json.dumps(line),
        lays_out=True,
    ),
}
_ONE = (
    "{One}: {text}",
    "Please {one}: {text}",
    "{text}\n{One}.",
    "Here is a text: {text}\n{One}.",
    "Can you {one}? {text}",
    "Take these words and {one}: {text}",
    "{One}. The text is: {text}",
)
_TWO = (
    "First {one}, then {two}: {text}",
    "{One}, and then {two}: {text}",
    "{text}\n{One}. After that, {two}.",
    "Please {one} and then {two}: {text}",
    "Here is a text: {text}\nFirst {one}, then {two}.",
    "Take these words, {one} and {two}: {text}",
)
_LOWER = (
    "Write everything in lower case: {text}",
    "Use small letters only: {text}",
    "Put this in lower case: {text}",
    "{text}\nWrite it without capital letters.",
    "Please turn this into lower case: {text}",
    "No capitals, please: {text}",
)
_NO_COMMAS = (
    "Write this without commas: {text}",
    "Remove all commas: {text}",
    "Copy the words, but use no comma: {text}",
    "{text}\nWrite the same without any comma.",
    "Take out the commas: {text}",
    "Please drop every comma: {text}",
)
_HOLDS = (
    "Does this text contain the word {word}? Answer only yes or no: {text}",
    "{text}\nIs the word {word} in it? Say just yes or no.",
    "Answer with yes or no: is {word} one of these words? {text}",
    "Look for the word {word}: {text}\nReply yes or no, nothing else.",
    "Is {word} among these words: {text}? One word, yes or no.",
    "Yes or no: this text has the word {word}. {text}",
)


def _line(random: random.Random) -> Line:
    """A sentence, or four to seven different words."""
    if random.random() < 0.4:
        return words.sentence(random).split()
    return words.distinct(random)


def _item(task: str, text: str, ideal: str, line: Sequence[str], **check: Any) -> Item:
    return Item(skill=SKILL, task=task, messages=user(text), ideal=ideal, key=words.key_of(line), check=check)


def _check(last: str, ideal: str) -> dict[str, Any]:
    """What the judge of an answer needs whose last operation this was: JSON may be written with other spaces."""
    return {"json": json.loads(ideal)} if last == "json_list" else {"exact": ideal}


def _clause(random: random.Random, operation: Operation) -> tuple[str, int]:
    n = random.choice(operation.numbers)
    return random.choice(operation.clauses).format(n=constraints.number_word(random, n) if n else ""), n


def _upper_first(text: str) -> str:
    return text[0].upper() + text[1:]


def _one(name: str) -> Draw:
    operation = OPERATIONS[name]

    def draw(random: random.Random) -> Item:
        line = words.distinct(random) if name == "sort" else _line(random)
        clause, n = _clause(random, operation)
        text = random.choice(_ONE).format(one=clause, One=_upper_first(clause), text=" ".join(line))
        ideal = operation.apply(line, n)
        return _item(name, text, ideal, line, **_check(name, ideal))

    return draw


def two(random: random.Random) -> Item:
    """Two different operations in a row, the first of which leaves words to go on with."""
    first = random.choice([name for name, operation in OPERATIONS.items() if not operation.lays_out])
    # Two cases or two cuts would undo one another.
    groups = ({"upper", "title"}, {"first", "last"}, {"sort", "reverse"})
    barred = next(group for group in groups if first in group)
    second = random.choice([name for name in OPERATIONS if name not in barred])
    line = words.distinct(random) if "sort" in (first, second) else _line(random)
    one, n = _clause(random, OPERATIONS[first])
    other, m = _clause(random, OPERATIONS[second])
    frame = random.choice(_TWO)
    text = frame.format(one=one, One=_upper_first(one), two=other, text=" ".join(line))
    ideal = OPERATIONS[second].apply(OPERATIONS[first].apply(line, n).split(), m)
    return _item("two", text, ideal, line, **_check(second, ideal))


def lower(random: random.Random) -> Item:
    """Capitals, or a mixture, into small letters."""
    line = _line(random)
    change = random.choice((str.upper, str.capitalize, lambda word: random.choice((word, word.upper()))))
    text = random.choice(_LOWER).format(text=" ".join(map(change, line)))
    return _item("lower", text, " ".join(line), line, exact=" ".join(line))


def no_commas(random: random.Random) -> Item:
    """The same words without their commas."""
    line = _line(random)
    after = set(random.sample(range(len(line) - 1), random.randrange(2, len(line))))
    marked = " ".join(word + "," * (place in after) for place, word in enumerate(line))
    text = random.choice(_NO_COMMAS).format(text=marked)
    return _item("no_commas", text, " ".join(line), line, exact=" ".join(line))


def holds(random: random.Random) -> Item:
    """Is a word in the text? Yes or no, each as often as the other."""
    line = _line(random)
    there = random.random() < 0.5
    pool = line if there else [word for word in words.THINGS if word not in line]
    text = random.choice(_HOLDS).format(word=random.choice(pool), text=" ".join(line))
    ideal = "yes" if there else "no"
    return _item("holds", text, ideal, line, exact=ideal)


TASKS: dict[str, Draw] = {
    **{name: _one(name) for name in OPERATIONS},
    "two": two,
    "lower": lower,
    "no_commas": no_commas,
    "holds": holds,
    **constraints.TASKS,
}


def judge(item: Item, answer: str) -> Verdict:
    """The one right text as it stands, or what the answer must hold."""
    if "exact" in item.check:
        return judge_text(answer, item.check["exact"])
    if normalise(answer) == item.prompt():
        return wrong("repeats the question")
    return constraints.judge(item.check, answer)
