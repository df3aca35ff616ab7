"""Sums are worked out rightly from the numbers that the prompt names."""

from __future__ import annotations

import operator
import random
import re

import pytest

from gemwright.tasks import arithmetic
from gemwright.tasks.item import KNOWN

OPERATORS = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul}


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


@pytest.mark.parametrize("task", [task for task in arithmetic.TASKS if task.rstrip("234") in OPERATORS])
def test_the_result_is_that_of_the_prompts_numbers(task: str) -> None:
    for number in range(200):
        item = arithmetic.TASKS[task](random.Random(number))
        a, b = _numbers(item.messages[0].text)
        # "Take b away from a" and "Subtract b from a" name the smaller number first.
        a, b = (max(a, b), min(a, b)) if task.startswith("subtract") else (a, b)
        assert item.check["result"] == OPERATORS[task.rstrip("234")](a, b)


@pytest.mark.parametrize("digits", [2, 3, 4])
def test_a_task_of_so_many_digits_has_a_number_of_so_many(digits: int) -> None:
    for number in range(100):
        for task in (f"add{digits}", f"subtract{digits}"):
            item = arithmetic.TASKS[task](random.Random(number))
            assert max(len(str(each)) for each in _numbers(item.messages[0].text)) == digits


def test_the_larger_and_the_smaller_are_what_was_asked_for() -> None:
    for number in range(200):
        item = arithmetic.compare(random.Random(number))
        text = item.messages[0].text
        larger = any(word in text for word in ("larger", "bigger", "greater", "more"))
        assert item.check["only"] == (max if larger else min)(_numbers(text))


def test_a_comparison_is_true() -> None:
    signs = set()
    for number in range(200):
        left, sign, right = arithmetic.sign(random.Random(number)).ideal.split()
        signs.add(sign)
        assert {"<": operator.lt, ">": operator.gt, "=": operator.eq}[sign](int(left), int(right))
    assert signs == set("<>=")


def test_sorted_numbers_are_the_prompts_in_order() -> None:
    for number in range(100):
        item = arithmetic.sort(random.Random(number))
        assert _numbers(item.ideal) == sorted(_numbers(item.messages[0].text))


@pytest.mark.parametrize(
    ("task", "answer", "score"),
    [
        ("compare", "{right} is larger", 1.0),
        ("compare", "{right} is more than {wrong}", 0.0),
        ("compare", "{wrong}", 0.0),
    ],
)
def test_a_comparison_names_one_number(task: str, answer: str, score: float) -> None:
    item = arithmetic.TASKS[task](random.Random(1))
    right = item.check["only"]
    (other,) = set(_numbers(item.messages[0].text)) - {right}
    assert arithmetic.judge(item, answer.format(right=right, wrong=other)).score == score


def test_the_tables_that_columns_are_made_of_are_the_only_pairs_never_tested() -> None:
    for number in range(300):
        item = arithmetic.TASKS["add2"](random.Random(number))
        assert (item.key == KNOWN) == (max(_numbers(item.messages[0].text)) < 20)
