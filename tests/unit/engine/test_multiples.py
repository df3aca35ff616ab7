"""Steps of numbers in JSON schemas: those that would take the parser minutes are refused."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemwright.engine.grammar import Grammar
from gemwright.engine.multiples import REMAINDERS, check
from gemwright.errors import UserError
from gemwright.text.tokenizer import Tokenizer

LARGE = [0, -1, 1.5, 10**9, 2**31 - 1, 2**31, 2**53 + 1, 2**63, -(2**64), 1e300, 1e-300, -0.0, 97, 0.1, "x", None, True]
KEYS = {
    "array": ("minItems", "maxItems"),
    "string": ("minLength", "maxLength"),
    "object": ("minProperties", "maxProperties"),
    "integer": ("multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "number": ("multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}
SCHEMAS = st.sampled_from(sorted(KEYS)).flatmap(
    lambda kind: st.dictionaries(st.sampled_from(KEYS[kind]), st.sampled_from(LARGE), max_size=4).map(
        lambda rest: {"type": kind, **rest}
    )
)


@pytest.mark.parametrize(
    "schema",
    [
        {"multipleOf": REMAINDERS},
        {"multipleOf": 0.25},
        {"multipleOf": 1e-9},
        {"multipleOf": 1e-300},
        {"multipleOf": -5},  # is wrong, which whoever compiles it says
        {"properties": {"a": {"multipleOf": 97}, "b": {"multipleOf": 991}}},
        {"allOf": [{"multipleOf": 0.5}, {"multipleOf": 7}]},
    ],
)
def test_steps_that_can_be_followed(schema: dict[str, Any]) -> None:
    check(schema)


@pytest.mark.parametrize(
    ("schema", "count"),
    [
        ({"items": {"multipleOf": 2**31}}, "2.14748e\\+9"),
        ({"multipleOf": 1.0001}, "10001"),
        ({"allOf": [{"multipleOf": 97}, {"multipleOf": 991}]}, "96127"),
        ({"multipleOf": 300, "anyOf": [{"multipleOf": 0.07}, {"type": "null"}]}, "210000"),
        ({"$ref": "#/$defs/a", "multipleOf": 0.001, "$defs": {"a": {"multipleOf": 11}}}, "11000"),
        ({"multipleOf": 10**4000}, "1.00000e\\+4000"),
    ],
)
def test_steps_with_too_many_remainders(schema: dict[str, Any], count: str) -> None:
    with pytest.raises(UserError, match=f"multipleOf .* has too many remainders: {count}, at most 10,000"):
        Grammar.schema(schema)


@given(schema=SCHEMAS, within=st.sampled_from(["", "allOf", "properties"]))
def test_extreme_schemas_are_followed_or_refused(tokenizer: Tokenizer, schema: dict[str, Any], within: str) -> None:
    """And neither end the process nor take it long."""
    constrain = pytest.importorskip("gemwright.engine.constrain")
    pytest.importorskip("llguidance")
    whole = {"": schema, "allOf": {"allOf": [schema, {}]}, "properties": {"properties": {"a": schema}}}[within]
    for strict in (True, False):
        with contextlib.suppress(UserError):
            constraint = constrain.Constraint(Grammar.schema(whole, strict=strict), tokenizer, vocab=320)
            for _ in range(30):
                if constraint.done:
                    break
                constraint.take(int(constraint.mask().nonzero()[-1]))
