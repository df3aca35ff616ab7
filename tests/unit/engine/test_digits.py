"""Numbers of JSON answers end, whatever the model wants."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from saying import said

from gemwright.engine.digits import DIGITS, Place, leading
from gemwright.text.tokenizer import Tokenizer

VALUES = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('a0123"\\{é'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('1"\\', max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(value=VALUES, cut=st.integers(0, 200), ascii=st.booleans())
def test_a_place_is_what_the_text_says_however_it_is_cut(value: Any, cut: int, ascii: bool) -> None:
    whole = json.dumps(value, ensure_ascii=ascii, separators=(",", ":")).encode()
    begun = whole[:cut]
    place = Place()
    for begin in range(0, len(begun), 3):
        place = place.after(begun[begin : begin + 3])
    outside = re.sub(rb'"(?:[^"\\]|\\.)*"', b'"', begun, flags=re.DOTALL)  # whole strings leave their last quote
    inside = outside.count(b'"') > len(re.findall(rb'"(?:[^"\\]|\\.)*"', begun, flags=re.DOTALL))
    digits = re.search(rb"[0-9]*\Z", outside)
    assert place.text == inside
    assert place.run == (0 if inside or digits is None else len(digits[0]))
    assert json.loads(whole) == value


@pytest.mark.parametrize(("piece", "count"), [(b"", 0), (b"12", 2), (b"12,", 2), (b" 1", 0), (b"-1", 0), (b".5", 0)])
def test_leading_digits(piece: bytes, count: int) -> None:
    assert leading(piece) == count


def greedy(schema: dict[str, Any], tokenizer: Tokenizer) -> str:
    """What a model says that prefers digits to everything, and nines to other digits."""
    return said(schema, tokenizer, lambda piece: (leading(piece), piece))


def test_numbers_end_at_the_limit(tokenizer: Tokenizer) -> None:
    numbers = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    first, second = json.loads(greedy(numbers, tokenizer), parse_int=str, parse_float=str)
    longest = re.compile(rf"9{{{DIGITS}}}(\.9{{{DIGITS}}})?([eE][-+]?9{{{DIGITS}}})?")
    assert longest.fullmatch(first) and longest.fullmatch(second)


@pytest.mark.parametrize("least", [-3, 0, 2.5])
def test_numbers_between_limits_end_behind_the_point(tokenizer: Tokenizer, least: float) -> None:
    text = greedy({"type": "number", "minimum": least, "maximum": 9}, tokenizer)
    assert least <= json.loads(text) <= 9
    assert max(len(run) for run in re.findall("[0-9]+", text)) <= DIGITS


def test_a_number_at_the_top_ends_too(tokenizer: Tokenizer) -> None:
    assert greedy({"type": "integer"}, tokenizer) == "9" * DIGITS


def test_a_number_that_needs_more_digits_has_them(tokenizer: Tokenizer) -> None:
    assert 1e-60 <= json.loads(greedy({"type": "number", "minimum": 1e-60, "maximum": 2e-60}, tokenizer)) <= 2e-60


def test_digits_in_a_text_are_not_counted(tokenizer: Tokenizer) -> None:
    assert json.loads(greedy({"type": "string", "pattern": "^[0-9]{100}$"}, tokenizer)) == "9" * 100
