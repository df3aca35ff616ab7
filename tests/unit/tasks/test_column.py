"""Worked columns are true line by line and end in the result."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemwright.tasks import column

NUMBERS = st.integers(0, 9999)


def _value(text: str) -> int:
    """What a line's left side comes to, by Python's own arithmetic."""
    assert set(text) <= set("0123456789+-×")
    return eval(text.replace("×", "*"))


def _check(steps: str, result: int) -> list[str]:
    *lines, last = steps.split("\n")
    for line in lines:
        left, right = line.split("=")
        assert _value(left) == int(right)
    assert last == f"= {result}"
    return lines


@given(NUMBERS, NUMBERS)
def test_every_line_of_a_sum_is_true_and_its_last_digits_spell_the_result(left: int, right: int) -> None:
    lines = _check(column.add(left, right), left + right)
    found = [line.split("=")[1] for line in lines]
    assert int(found[-1] + "".join(each[-1] for each in reversed(found[:-1]))) == left + right


@given(NUMBERS, NUMBERS)
def test_every_line_of_a_difference_is_true_and_its_digits_spell_the_result(one: int, other: int) -> None:
    left, right = max(one, other), min(one, other)
    lines = _check(column.subtract(left, right), left - right)
    assert int("".join(line.split("=")[1] for line in reversed(lines))) == left - right


@given(NUMBERS, st.integers(0, 9))
def test_every_line_of_a_product_is_true_and_its_last_digits_spell_the_result(number: int, digit: int) -> None:
    lines = _check(column.multiply(number, digit), number * digit)
    found = [line.split("=")[1] for line in lines]
    assert int(found[-1] + "".join(each[-1] for each in reversed(found[:-1]))) == number * digit


def test_the_columns_read_as_they_are_described() -> None:
    assert column.add(347, 276) == "7+6=13\n4+7+1=12\n3+2+1=6\n= 623"
    assert column.subtract(623, 276) == "13-6=7\n12-7-1=4\n6-2-1=3\n= 347"
    assert column.multiply(46, 7) == "6×7=42\n4×7+4=32\n= 322"


def test_what_the_columns_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="below 0"):
        column.subtract(3, 4)
    with pytest.raises(ValueError, match="no digit"):
        column.multiply(3, 12)
