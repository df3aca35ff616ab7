"""Little stories with numbers: one or two operations, each written down and worked out in columns.

    Mia has 47 shells. She finds 25 more and then gives 12 away. How many shells does she have now?

    47+25
    7+5=12
    4+2+1=7
    = 72
    72-12
    2-2=0
    7-1=6
    = 60

Judged is the number after the last "=". The keys are those that arithmetic gives the pairs of numbers of each
operation, without names, things and wording: a pair of the test side is trained on in neither skill, nor as a step.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from gemwright.tasks import column, words
from gemwright.tasks.arithmetic import pair_key
from gemwright.tasks.item import Draw, Item, Verdict, user
from gemwright.tasks.judging import judge_number

SKILL = "word_problems"

_GAIN = (
    "{name} has {a} {things} and gets {b} more. How many {things} does {name} have now?",
    "There are {a} {things} in a box. {name} puts {b} more into it. How many {things} are in the box?",
    "{name} found {a} {things} on Monday and {b} {things} on Tuesday. How many {things} is that in all?",
    "{name} has {a} {things}. {other} has {b} {things}. How many {things} do they have together?",
    "A shop sold {a} {things} in the morning and {b} in the evening. How many {things} did it sell?",
    "{name} buys {a} {things}, and {other} brings {b} more. How many {things} are there?",
    "On one shelf are {a} {things}, on another are {b}. How many {things} are on both shelves?",
    "{name} counted {a} {things} and then another {b}. How many {things} did {name} count?",
)
_LOSE = (
    "{name} has {a} {things} and gives {b} of them to {other}. How many {things} does {name} have left?",
    "There were {a} {things} in a basket. {name} took {b} out. How many {things} are still in it?",
    "{name} had {a} {things} and lost {b}. How many {things} remain?",
    "A shop had {a} {things} and sold {b} of them. How many {things} are left?",
    "{name} has {a} {things}. {b} of them are broken. How many {things} are not broken?",
    "Of {a} {things} on the table, {name} takes {b} away. How many {things} stay on the table?",
    "{name} has {a} {things} and {other} has {b}. How many more {things} does {name} have than {other}?",
    "{name} needs {a} {things} and has {b}. How many {things} are missing?",
)
_GROUPS = (
    "{name} has {b} boxes with {a} {things} in each. How many {things} is that?",
    "There are {b} bags. Each bag holds {a} {things}. How many {things} are in the bags?",
    "{name} buys {a} {things} every day for {b} days. How many {things} does {name} buy?",
    "One of the {things} costs {a} coins. How many coins do {b} of the {things} cost?",
    "{b} children bring {a} {things} each. How many {things} do they bring?",
    "On each of {b} tables {name} puts {a} {things}. How many {things} does {name} need?",
    "{name} draws {b} rows of {a} {things}. How many {things} does {name} draw?",
)
_GAIN_LOSE = (
    "{name} has {a} {things}. {name} finds {b} more and then gives {c} away. How many {things} does {name} have now?",
    "A box holds {a} {things}. {name} adds {b} and {other} takes out {c}. How many {things} are in the box?",
    "{name} had {a} {things}, bought {b} and lost {c}. How many {things} are left?",
    "A shop has {a} {things}, gets {b} new ones and sells {c}. How many {things} does it have then?",
    "{name} picks {a} {things} and {other} picks {b}. They use {c} of them. How many {things} remain?",
    "There are {a} {things} here and {b} there. {name} takes {c} of them. How many {things} stay?",
)
_LOSE_GAIN = (
    "{name} has {a} {things}. {name} gives away {b} and then gets {c} new ones. How many {things} does {name} have?",
    "A box holds {a} {things}. {name} takes out {b} and {other} adds {c}. How many {things} are in the box?",
    "{name} had {a} {things}, lost {b} and bought {c}. How many {things} does {name} have now?",
    "A shop has {a} {things}, sells {b} and then gets {c} more. How many {things} does it have?",
    "From {a} {things} {name} takes {b} away, and {other} brings {c}. How many {things} are there?",
    "{name} needed {a} {things}, found {b} of them, and then needed {c} more. How many {things} are still missing?",
)
_GROUPS_GAIN = (
    "{name} has {b} boxes with {a} {things} in each and {c} {things} beside them. How many {things} is that?",
    "There are {b} bags with {a} {things} each. {name} adds {c} more {things}. How many {things} are there?",
    "{name} buys {a} {things} a day for {b} days, and {other} gives {name} {c} more. How many {things} are that?",
    "{b} children bring {a} {things} each, and {name} brings {c}. How many {things} do they have?",
    "{name} puts {a} {things} on each of {b} tables and has {c} {things} left. How many {things} did {name} have?",
    "{name} draws {b} rows of {a} {things} and then {c} more. How many {things} does {name} draw?",
)


def _number(random: random.Random) -> int:
    """From 2 to 99, small ones as often as large ones."""
    return random.randrange(2, 20) if random.random() < 0.3 else random.randrange(10, 100)


def _item(
    random: random.Random, task: str, stories: Sequence[str], numbers: Sequence[int], steps: str, *parts: str
) -> Item:
    name, other = random.sample(words.NAMES, 2)
    named = dict(zip("abc", numbers, strict=False))
    text = random.choice(stories).format(name=name, other=other, things=random.choice(words.ITEMS), **named)
    check = {"result": int(steps.rpartition("= ")[2])}
    key = pair_key(*numbers[:2])
    return Item(skill=SKILL, task=task, messages=user(text), ideal=steps, key=key, check=check, parts=parts)


def _sum(a: int, b: int) -> str:
    return f"{a}+{b}\n{column.add(a, b)}"


def _difference(a: int, b: int) -> str:
    return f"{a}-{b}\n{column.subtract(a, b)}"


def _product(a: int, b: int) -> str:
    return f"{a}×{b}\n{column.multiply(a, b)}"


def gain(random: random.Random) -> Item:
    """a + b."""
    a, b = _number(random), _number(random)
    return _item(random, "gain", _GAIN, (a, b), _sum(a, b))


def lose(random: random.Random) -> Item:
    """a - b, with a the larger."""
    b, a = sorted((_number(random), _number(random)))
    return _item(random, "lose", _LOSE, (a + 1, b), _difference(a + 1, b))


def groups(random: random.Random) -> Item:
    """a × b, with b from 2 to 9."""
    a, b = _number(random), random.randrange(2, 10)
    return _item(random, "groups", _GROUPS, (a, b), _product(a, b))


def gain_lose(random: random.Random) -> Item:
    """a + b - c."""
    a, b = _number(random), _number(random)
    c = random.randrange(2, a + b)
    steps = f"{_sum(a, b)}\n{_difference(a + b, c)}"
    return _item(random, "gain_lose", _GAIN_LOSE, (a, b, c), steps, pair_key(a + b, c))


def lose_gain(random: random.Random) -> Item:
    """a - b + c."""
    b, a = sorted((_number(random), _number(random)))
    a, c = a + 1, _number(random)
    steps = f"{_difference(a, b)}\n{_sum(a - b, c)}"
    return _item(random, "lose_gain", _LOSE_GAIN, (a, b, c), steps, pair_key(a - b, c))


def groups_gain(random: random.Random) -> Item:
    """a × b + c, with b from 2 to 9."""
    a, b, c = _number(random), random.randrange(2, 10), _number(random)
    steps = f"{_product(a, b)}\n{_sum(a * b, c)}"
    return _item(random, "groups_gain", _GROUPS_GAIN, (a, b, c), steps, pair_key(a * b, c))


TASKS: dict[str, Draw] = {
    "gain": gain,
    "lose": lose,
    "groups": groups,
    "gain_lose": gain_lose,
    "lose_gain": lose_gain,
    "groups_gain": groups_gain,
}


def judge(item: Item, answer: str) -> Verdict:
    """The number that the last line comes to."""
    return judge_number(answer, item.check["result"])
