"""Sums with worked steps: add, subtract, multiply by a digit, compare, put in order.

The steps are those of `column`; the result stands on the last line after "= " and alone is judged. All these tasks,
and the word problems, share one key per pair of numbers, so a pair of the test side is never trained on in any
operation. Pairs below 20 are the tables that the steps of all others are made of: trained on, never tested. Numbers
are from 0 to 9999, results never below 0.
"""

from __future__ import annotations

import random
import re

from gemwright.tasks import column
from gemwright.tasks.item import KNOWN, RIGHT, Draw, Item, Verdict, user, wrong
from gemwright.tasks.judging import judge_number, judge_text, last_line

SKILL = "arithmetic"
_TABLES = 20  # a column's step adds two digits, or takes a digit from a number up to 18

_ADD = (
    "What is {a} + {b}?",
    "{a} + {b}",
    "{a}+{b}=",
    "Add {a} and {b}.",
    "Calculate {a} + {b}.",
    "What is the sum of {a} and {b}?",
    "How much is {a} plus {b}?",
    "Please work out {a} + {b}.",
    "{a} plus {b} equals what?",
    "Find the sum: {a} + {b}",
)
_SUBTRACT = (
    "What is {a} - {b}?",
    "{a} - {b}",
    "{a}-{b}=",
    "Subtract {b} from {a}.",
    "Calculate {a} - {b}.",
    "What is the difference of {a} and {b}?",
    "How much is {a} minus {b}?",
    "Please work out {a} - {b}.",
    "{a} minus {b} equals what?",
    "Take {b} away from {a}.",
)
_MULTIPLY = (
    "What is {a} × {b}?",
    "{a} × {b}",
    "{a}*{b}=",
    "Multiply {a} by {b}.",
    "Calculate {a} * {b}.",
    "What is the product of {a} and {b}?",
    "How much is {a} times {b}?",
    "Please work out {a} × {b}.",
    "{a} times {b} equals what?",
)
_LARGER = (
    "Which is larger, {a} or {b}?",
    "Which number is bigger: {a} or {b}?",
    "Name the larger of {a} and {b}.",
    "What is the greater number, {a} or {b}?",
    "Of {a} and {b}, which is more?",
    "Give me the larger number: {a}, {b}.",
)
_SMALLER = (
    "Which is smaller, {a} or {b}?",
    "Which number is less: {a} or {b}?",
    "Name the smaller of {a} and {b}.",
    "What is the lesser number, {a} or {b}?",
    "Of {a} and {b}, which is smaller?",
    "Give me the smaller number: {a}, {b}.",
)
_SIGN = (
    "Put <, > or = between {a} and {b}.",
    "Compare {a} and {b} with <, > or =.",
    "Which sign belongs between {a} and {b}: <, > or =?",
    "Fill in <, > or =: {a} _ {b}",
    "{a} ? {b} Write the comparison with <, > or =.",
    "Is {a} <, > or = {b}?",
)
_SORT = (
    "Sort these numbers from small to large: {all}",
    "Put {all} in order, the smallest first.",
    "Write {all} in increasing order.",
    "Order these numbers: {all}. Begin with the smallest.",
    "Arrange {all} from the smallest to the largest.",
    "From low to high: {all}",
)


def pair_key(one: int, other: int) -> str:
    """The key of a question about two numbers, whatever is asked about them and in whatever order they stand."""
    if max(one, other) < _TABLES:
        return KNOWN
    return f"numbers {min(one, other)} {max(one, other)}"


def _number(random: random.Random, digits: int) -> int:
    return random.randrange(10 ** (digits - 1), 10**digits)


def _pair(random: random.Random, digits: int) -> tuple[int, int]:
    """A number of that many digits, and one of as many (three times in four) or fewer, in either order."""
    fewer = random.randrange(1, digits + 1)
    pair = [_number(random, digits), _number(random, digits if random.random() < 0.75 else fewer)]
    random.shuffle(pair)
    return pair[0], pair[1]


def _item(task: str, text: str, ideal: str, key: str, **check: str | int) -> Item:
    return Item(skill=SKILL, task=task, messages=user(text), ideal=ideal, key=key, check=check)


def _add(digits: int) -> Draw:
    def draw(random: random.Random) -> Item:
        a, b = _pair(random, digits)
        text = random.choice(_ADD).format(a=a, b=b)
        return _item(f"add{digits}", text, column.add(a, b), pair_key(a, b), result=a + b)

    return draw


def _subtract(digits: int) -> Draw:
    def draw(random: random.Random) -> Item:
        b, a = sorted(_pair(random, digits))
        text = random.choice(_SUBTRACT).format(a=a, b=b)
        return _item(f"subtract{digits}", text, column.subtract(a, b), pair_key(a, b), result=a - b)

    return draw


def multiply(random: random.Random) -> Item:
    """A number of one to three digits times a digit from 2 to 9, in either order."""
    number, digit = _number(random, random.choice((1, 2, 2, 3, 3, 3))), random.randrange(2, 10)
    if number < 10:  # the worked column stands for both orders
        number, digit = max(number, digit), min(number, digit)
    a, b = random.choice(((number, digit), (digit, number)))
    text = random.choice(_MULTIPLY).format(a=a, b=b)
    return _item("multiply", text, column.multiply(number, digit), pair_key(a, b), result=a * b)


def _two(random: random.Random) -> tuple[int, int]:
    """Two numbers of one to four digits; half the pairs agree in their first digits, which is where eyes slip."""
    one = _number(random, random.randrange(1, 5))
    other = _number(random, random.randrange(1, 5))
    if random.random() < 0.5:
        place = 10 ** random.randrange(len(str(one)))
        other = one - one % (place * 10) + random.randrange(place * 10)
    return one, other


def compare(random: random.Random) -> Item:
    """The larger or the smaller of two different numbers."""
    a, b = _two(random)
    while a == b:
        a, b = _two(random)
    larger = random.random() < 0.5
    text = random.choice(_LARGER if larger else _SMALLER).format(a=a, b=b)
    result = max(a, b) if larger else min(a, b)
    return _item("compare", text, str(result), pair_key(a, b), only=result)


def sign(random: random.Random) -> Item:
    """Less, more or equal: the comparison is written out."""
    a, b = _two(random)
    if random.random() < 0.1:
        b = a
    text = random.choice(_SIGN).format(a=a, b=b)
    line = f"{a} {'<' if a < b else '>' if a > b else '='} {b}"
    return _item("sign", text, line, pair_key(a, b), line=line)


def sort(random: random.Random) -> Item:
    """Three to five different numbers of up to three digits in increasing order."""
    numbers = random.sample(range(1, 1000 if random.random() < 0.7 else 100), random.randrange(3, 6))
    text = random.choice(_SORT).format(all=", ".join(map(str, numbers)))
    numbers.sort()
    line = ", ".join(map(str, numbers))
    return _item("sort", text, line, f"numbers {' '.join(map(str, numbers))}", line=line)


TASKS: dict[str, Draw] = {
    "add2": _add(2),
    "add3": _add(3),
    "add4": _add(4),
    "subtract2": _subtract(2),
    "subtract3": _subtract(3),
    "subtract4": _subtract(4),
    "multiply": multiply,
    "compare": compare,
    "sign": sign,
    "sort": sort,
}


def judge(item: Item, answer: str) -> Verdict:
    """The number that the last line comes to; for `compare` the one number named; for `sign` and `sort` the line."""
    if "result" in item.check:
        return judge_number(answer, item.check["result"])
    if "only" in item.check:
        named = {int(number) for number in re.findall(r"\d+", last_line(answer))}
        return RIGHT if named == {item.check["only"]} else wrong(f"names {sorted(named)}, not {item.check['only']}")
    return judge_text(re.sub(r"\s+", "", last_line(answer)), re.sub(r"\s+", "", item.check["line"]))
