"""The form that an answer must have, as the engine enforces it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from gemwright.engine.grammar import Grammar
from gemwright.errors import UserError
from gemwright.server.ask import Structure
from gemwright.server.errors import ApiError, unsupported
from gemwright.text import tools


def grammar_of(structure: Structure) -> Grammar | None:
    """What the answer is held to: a JSON schema, or the calls that must come; None where it is free.

    A required call comes before a form of text. Raises `ApiError` for a form that is not known or cannot be enforced.
    """
    if structure.choice.mode in ("required", "named"):
        offered = [_followed(tool) for tool in structure.tools]
        found = tools.grammar(offered, structure.choice, structure.parallel)
        return None if found is None else _made(lambda: Grammar.lark(found, json=True), "tools")
    wanted = structure.response_format
    if wanted is None:
        return None
    if wanted.get("type") == "json_object":
        return Grammar.schema({"type": "object"})
    if wanted.get("type") != "json_schema":
        raise unsupported("response_format other than text, json_object and json_schema", "response_format")
    inner = wanted.get("json_schema", wanted)
    schema = inner.get("schema") if isinstance(inner, Mapping) else None
    if not isinstance(schema, Mapping):
        raise ApiError(400, "response_format has no schema", param="response_format")
    return _made(lambda: Grammar.schema(schema, strict=inner.get("strict") is True), "response_format")


def _followed(tool: tools.Tool) -> tools.Tool:
    """The tool with parameters that are within the limits of any other schema."""
    checked = _made(lambda: Grammar.schema(tool.parameters, strict=tool.strict), "tools")
    return replace(tool, parameters=json.loads(checked.text))


def _made(make: Callable[[], Grammar], param: str) -> Grammar:
    try:
        return make()
    except UserError as error:
        raise ApiError(400, str(error), param=param) from error
