"""Random JSON schemas that an answer can end, and a reader of them written from the standard's definitions."""

from __future__ import annotations

import random
import re
from typing import Any

WORDS = ("a", "on", "the\n", 'qu"ote', "naïve", "漢", "back\\slash", "<eos>")


def schema(seed: int) -> dict[str, Any]:
    """A schema of at most a few dozen keywords; every list, text and object that follows it is short."""
    draw = random.Random(seed)
    made = _object(draw, depth=0)
    chain = {"type": "object", "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/chain"}]}}}
    return made | {"$defs": {"chain": chain | {"required": ["next"], "additionalProperties": False}}}


def _any(draw: random.Random, depth: int) -> dict[str, Any]:
    simple = (_text, _integer, _number, _enum, _constant, _kinds, _chain)
    nested = (_object, _array, _options)
    return draw.choice(simple if depth > 2 else simple + nested)(draw, depth + 1)


def _object(draw: random.Random, depth: int) -> dict[str, Any]:
    names = draw.sample(WORDS, draw.randint(1, 4))
    needed = [name for name in names if draw.random() < 0.6]
    properties = {name: _any(draw, depth) for name in names}
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def _array(draw: random.Random, depth: int) -> dict[str, Any]:
    least = draw.randint(0, 2)
    return {"type": "array", "items": _any(draw, depth), "minItems": least, "maxItems": least + draw.randint(0, 2)}


def _options(draw: random.Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [_any(draw, depth) for _ in range(draw.randint(2, 3))]}


def _text(draw: random.Random, depth: int) -> dict[str, Any]:
    if draw.random() < 0.3:
        return {"type": "string", "pattern": draw.choice(["^[a-f]{1,4}$", "^(on|off)$", "^[0-9]{2}-x?$"])}
    least = draw.randint(0, 4)
    return {"type": "string", "minLength": least, "maxLength": least + draw.randint(0, 6)}


def _integer(draw: random.Random, depth: int) -> dict[str, Any]:
    least = draw.randint(-2000, 2000)
    return {"type": "integer", "minimum": least, "maximum": least + draw.randint(0, 3000)}


def _number(draw: random.Random, depth: int) -> dict[str, Any]:
    return {"type": "number", "minimum": -3, "maximum": draw.randint(-2, 90)}


def _enum(draw: random.Random, depth: int) -> dict[str, Any]:
    return {"enum": draw.sample([*WORDS, None, True, 0, -12, [1, "x"], {"k": None}], draw.randint(1, 5))}


def _constant(draw: random.Random, depth: int) -> dict[str, Any]:
    return {"const": draw.choice([*WORDS, False, 3, []])}


def _kinds(draw: random.Random, depth: int) -> dict[str, Any]:
    return {"type": draw.choice(["boolean", "null", ["boolean", "null"]])}


def _chain(draw: random.Random, depth: int) -> dict[str, Any]:
    return {"$ref": "#/$defs/chain"}


def damaged(value: Any, seed: int) -> Any:
    """A value with one part of it changed, which may or may not follow the schema still."""
    draw = random.Random(seed)
    if isinstance(value, dict) and value and draw.random() < 0.7:
        name = draw.choice(list(value))
        rest = {key: inner for key, inner in value.items() if key != name}
        return rest if draw.random() < 0.3 else {**value, name: damaged(value[name], draw.getrandbits(32))}
    if isinstance(value, dict):
        return {**value, draw.choice(WORDS): draw.choice(["", 1, None])}
    if isinstance(value, list) and value and draw.random() < 0.7:
        at = draw.randrange(len(value))
        return [
            *value[:at],
            *([] if draw.random() < 0.3 else [damaged(value[at], draw.getrandbits(32))]),
            *value[at + 1 :],
        ]
    return draw.choice([None, True, 0, -12, 2.5, 10**6, "", "on", "a" * 12, [], [1, "x"], [value] * 5, {}, {"k": None}])


KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}


def follows(value: Any, rule: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether a JSON value follows a schema, for the keywords above."""
    if "$ref" in rule:
        return follows(value, root["$defs"][rule["$ref"].removeprefix("#/$defs/")], root)
    if "anyOf" in rule:
        return any(follows(value, option, root) for option in rule["anyOf"])
    if "enum" in rule or "const" in rule:
        return any(type(value) is type(one) and value == one for one in rule.get("enum", [rule.get("const")]))
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    return any(_is(value, kind) and _within(value, kind, rule, root) for kind in kinds)


def _is(value: Any, kind: str) -> bool:
    if kind == "null":
        return value is None
    return isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _within(value: Any, kind: str, rule: dict[str, Any], root: dict[str, Any]) -> bool:
    if kind == "object":
        known = rule["properties"]
        there = all(name in value for name in rule["required"])
        return there and all(name in known and follows(inner, known[name], root) for name, inner in value.items())
    if kind == "array":
        fits = rule["minItems"] <= len(value) <= rule["maxItems"]
        return fits and all(follows(inner, rule["items"], root) for inner in value)
    if kind == "string" and "pattern" in rule:
        return re.search(rule["pattern"], value) is not None
    if kind == "string":
        return rule["minLength"] <= len(value) <= rule["maxLength"]
    if kind in ("integer", "number"):
        return rule["minimum"] <= value <= rule["maximum"]
    return True
