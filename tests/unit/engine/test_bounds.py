"""Bounds of numbers in JSON schemas: what is followed lies within what was asked, however large."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from saying import said

from gemwright.engine.bounds import LARGEST, followed
from gemwright.engine.grammar import Grammar
from gemwright.errors import UserError
from gemwright.text.tokenizer import Tokenizer

KEYS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(-1e30, 1e30) | st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1])
AWFUL = {"type": "integer", "minimum": -(10**30), "maximum": -(10**29)}  # given as it stands, it ends the process


def test_what_can_be_followed_is_left_alone() -> None:
    schema = {
        "type": "object",
        "properties": {
            "minimum": {"type": "integer", "minimum": -5, "maximum": 2**53},
            "const": {"const": [10**20, {}]},
        },
        "$defs": {"a": {"anyOf": [{"type": "number", "exclusiveMinimum": 0.1}, {"enum": [True, 1e300, "a"]}]}},
    }
    assert followed(schema) == schema


@given(key=st.sampled_from(KEYS), value=NUMBERS)
def test_bounds_move_inward_to_the_next_that_is_written_in_full(key: str, value: float) -> None:
    sign = 1 if "inimum" in key else -1
    try:
        moved = followed({"allOf": [{key: value}]})["allOf"][0][key]
    except UserError:
        assert sign * value > LARGEST
        return
    if value != int(value):
        assert moved == value
        return
    assert Decimal(repr(float(moved))) == int(moved) and abs(moved) <= LARGEST
    assert sign * moved >= sign * value
    assert value < -LARGEST or value > LARGEST or abs(moved - value) <= 2**17


@pytest.mark.parametrize("place", [lambda one: {"$defs": {"const": one}}, lambda one: {"default": one}])
def test_bounds_are_looked_for_wherever_a_reference_may_point(place: Any) -> None:
    with pytest.raises(UserError, match=r"no number of 64 bits follows maximum -1"):
        Grammar.schema(place(AWFUL))


@pytest.mark.parametrize("constant", [2**64, 10**400, [2**53 + 1], AWFUL, {"a": AWFUL}])
def test_constants_that_would_become_other_numbers_are_refused(constant: Any) -> None:
    with pytest.raises(UserError, match="a constant of the JSON schema"):
        Grammar.schema({"enum": [1, constant]})


def drawn(schema: dict[str, Any], tokenizer: Tokenizer, want: bytes) -> float:
    """A number in which characters stand in the order of `want` wherever there is a choice."""
    return json.loads(said(schema, tokenizer, lambda piece: -want.find(piece) if piece in want else -len(want)))


@pytest.mark.parametrize("want", [b"9876543210", b"-9876543210", b"0123456789", b"-0123456789", b"-5"])
@pytest.mark.parametrize("kind", ["integer", "number"])
@pytest.mark.parametrize(
    ("least", "most"),
    [
        (-(2**63), 2**63 - 1),
        (0, 2**64 - 1),
        (-(10**30), 10**30),
        (2**53 + 1, 2**53 + 3),
        (10**18 + 1, None),
        (None, -(10**18) - 1),
        (-(2**63), -5),
        (9 * 10**18, 2**63),
    ],
)
def test_answers_lie_within_the_bounds(
    tokenizer: Tokenizer, kind: str, least: int | None, most: int | None, want: bytes
) -> None:
    bounds = {"minimum": least, "maximum": most}
    found = drawn({"type": kind} | {key: one for key, one in bounds.items() if one is not None}, tokenizer, want)
    assert (least is None or found >= least) and (most is None or found <= most)


def test_a_schema_does_not_end_the_process() -> None:
    """In a process of its own: what it guards against is no exception."""
    code = f"""
from gemwright.engine.grammar import Grammar
from gemwright.errors import UserError
try:
    Grammar.schema({AWFUL!r})
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "64 bits" in done.stdout
