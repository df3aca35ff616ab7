"""What an answer may look like: the sizes that are refused, and the schemas that no answer can end."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest

from gemwright.engine import grammar
from gemwright.engine.grammar import Grammar
from gemwright.errors import UserError

LIST = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"]}
TREE = {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "array", "items": {"$ref": "#/$defs/a~1b"}}}}
OPTIONAL = {"type": "object", "properties": {"again": {"$ref": "#"}}}
BEHIND = {
    "$ref": "#/$defs/one",
    "$defs": {
        "one": {"type": "array", "prefixItems": [{"$ref": "#/$defs/two"}], "minItems": 1},
        "two": {"allOf": [{"$ref": "#/$defs/three"}]},
        "three": {"oneOf": [{"$ref": "#/$defs/one"}, {"const": 3}]},
    },
}


@pytest.mark.parametrize("schema", [LIST, TREE, OPTIONAL, BEHIND, {"$ref": "#/$defs/no"}, {"type": ["object", "null"]}])
def test_a_recursion_that_can_end_is_welcome(schema: dict[str, Any]) -> None:
    assert Grammar.schema(schema).kind == "schema"


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}]},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "object", "additionalProperties": {"$ref": "#"}, "required": ["a"]},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 2},
        {"type": "array", "prefixItems": [True, {"$ref": "#"}], "minItems": 2},
        {"type": ["array", "object"], "items": {"$ref": "#"}, "minItems": 1, "required": ["a"]}
        | {"properties": {"a": {"$ref": "#"}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    ],
)
def test_a_recursion_without_an_end_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="endless"):
        Grammar.schema(schema)


def test_a_chain_of_references_in_any_order_is_decided() -> None:
    names = [f"{index * 37 % 101}" for index in range(101)]
    links = dict(pairwise(names))
    schema = {"$ref": f"#/$defs/{names[0]}", "$defs": {key: {"$ref": f"#/$defs/{to}"} for key, to in links.items()}}
    with_end = schema | {"$defs": schema["$defs"] | {names[-1]: {"type": "null"}}}
    without = schema | {"$defs": schema["$defs"] | {names[-1]: {"$ref": f"#/$defs/{names[50]}"}}}
    assert Grammar.schema(with_end)
    with pytest.raises(UserError, match="endless"):
        Grammar.schema(without)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (nested(100_000), "deeper than 64"),
        ({"enum": list(range(grammar.NODES))}, "more than 4000"),
        ({"const": "x" * grammar.CHARACTERS}, "at most 200000"),
        ("object", "is 'object'"),
        ({"const": float("nan")}, "no JSON"),
        ({"const": {1}}, "no JSON"),
    ],
)
def test_what_is_too_large_or_no_schema_is_refused_with_its_limit(schema: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Grammar.schema(schema)


def test_many_references_in_the_worst_order_are_decided_in_time() -> None:
    names = [str(index * 251 % 499) for index in range(499)]
    links: dict[str, Any] = {name: {"$ref": f"#/$defs/{to}"} for name, to in pairwise(names)}
    every = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]}
    began = time.monotonic()
    assert Grammar.schema({"$ref": f"#/$defs/{names[0]}", "$defs": links | {names[-1]: {"type": "null"}}})
    with pytest.raises(UserError, match="endless"):
        Grammar.schema({"$ref": "#/$defs/every", "$defs": links | {"every": every, names[-1]: {"$ref": "#"}}})
    assert time.monotonic() - began < 20  # the limit is one of steps, about a second's work


@pytest.mark.parametrize("choices", [[], "yes", ["yes", ""], [1]])
def test_choices_are_texts(choices: Any) -> None:
    with pytest.raises(UserError, match="choices"):
        Grammar.choices(choices)


def test_equal_grammars_are_equal() -> None:
    assert Grammar.schema({"type": "null"}) == Grammar.schema({"type": "null"})
    assert len({Grammar.choices(["a", "b"]), Grammar.choices(["a", "b", "a"]), Grammar.regex("a|b")}) == 2
    assert Grammar.schema({"type": "null"}) != Grammar.schema({"type": "null"}, strict=False)


@pytest.mark.parametrize("make", [Grammar.regex, Grammar.lark])
def test_expressions_and_grammars_have_a_length(make: Any) -> None:
    with pytest.raises(UserError, match="at most 200000"):
        make("a" * (grammar.CHARACTERS + 1))
    with pytest.raises(UserError, match="as text"):
        make(5)
