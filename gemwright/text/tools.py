"""Tools in Gemma's convention: what the prompt says of them, how calls and results are written, what a reply may be.

The models have no pieces for this and no role for it (`calls` reads what they answer). The user's turn describes the
tools and the form of a call; a call is a line of JSON in the model's turn,

    {"name": "get_weather", "parameters": {"city": "Oslo"}}

and a result stands in a fence named `tool_output` in the user's next turn. Google's page on function calling with Gemma
suggests that form of a call. Everything here takes and gives plain values of OpenAI's interface.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gemwright.errors import UserError
from gemwright.text.calls import Call

MOST_TOOLS = 128
MOST_CALLS = 32
"""Calls that one reply may hold where a grammar is in force."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_COMPACT = {"whitespace_flexible": False}


@dataclass(frozen=True)
class Tool:
    """A function that the model may ask for. `parameters`: JSON schema of an object, its arguments by name. `strict`:
    a reply must follow every keyword of it, and keywords that cannot be enforced are refused."""

    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool


@dataclass(frozen=True)
class Choice:
    """What the model is to do with its tools: as it likes, call none, call at least one, or call the one `name`."""

    mode: Literal["auto", "none", "required", "named"]
    name: str = ""


@dataclass(frozen=True)
class Result:
    """What a tool answered. `content` is any text; JSON is shown as what it says."""

    name: str
    content: str


def read_tools(tools: Any) -> tuple[Tool, ...]:
    """OpenAI's `tools`: functions, in the form of chat completions (`{"type": "function", "function": {…}}`) or of
    responses (the same without the inner object).

    Raises:
        UserError: naming the first tool by its index from 0 that cannot be used.
    """
    if not isinstance(tools, Sequence) or isinstance(tools, str) or len(tools) > MOST_TOOLS:
        raise UserError(f"tools must be a list of at most {MOST_TOOLS}", hint="give fewer functions")
    found: dict[str, Tool] = {}
    for index, entry in enumerate(tools):
        tool = _tool(entry, f"tool {index}")
        if tool.name in found:
            raise UserError(f"tool {index} is called {tool.name!r}, as one before it", hint="give each its own name")
        found[tool.name] = tool
    return tuple(found.values())


def _tool(entry: Any, which: str) -> Tool:
    if not isinstance(entry, Mapping) or entry.get("type") != "function":
        raise UserError(f"{which} is no function", hint='give {"type": "function", "function": {"name": …}}')
    given = entry.get("function", entry)
    name = given.get("name") if isinstance(given, Mapping) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(f"{which} has the name {name!r:.80}", hint="use 1 to 64 of the characters a-z A-Z 0-9 _ -")
    description, strict = given.get("description") or "", given.get("strict") or False
    if not isinstance(description, str) or not isinstance(strict, bool):
        raise UserError(f"{which}, {name!r}: description is a text and strict true or false", hint="correct it")
    parameters = given.get("parameters")
    if parameters is None:
        parameters = {"properties": {}, "additionalProperties": False}
    if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
        raise UserError(f"{which}, {name!r}: its parameters are no JSON schema of an object", hint="describe an object")
    try:
        parameters = json.loads(json.dumps({"type": "object", **parameters}, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{which}, {name!r}: its parameters are no JSON: {error}", hint="correct them") from error
    return Tool(name=name, description=description, parameters=parameters, strict=strict)


def read_choice(choice: Any, tools: Sequence[Tool]) -> Choice:
    """OpenAI's `tool_choice`: "auto", "none", "required" or one named function; None means "auto" where there are
    tools.

    Raises:
        UserError: it is none of these, names no tool, or asks for a call without tools.
    """
    if choice is None:
        choice = "auto" if tools else "none"
    if choice in ("auto", "none"):
        return Choice(choice if tools else "none")
    if not tools:
        raise UserError("tool_choice asks for a call, but there are no tools", hint="give tools, or leave it out")
    if choice == "required":
        return Choice("required")
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        given = choice.get("function", choice)
        name = given.get("name") if isinstance(given, Mapping) else None
        if any(tool.name == name for tool in tools):
            return Choice("named", str(name))
        raise UserError(f"tool_choice names {name!r:.80}, which is none of the tools", hint="name one of the tools")
    raise UserError(f"tool_choice is {choice!r:.80}", hint='use "auto", "none", "required" or one function')


# ----------------------------------------------------------------------------------------------------------------------
# What the prompt says


def instructions(tools: Sequence[Tool], choice: Choice, parallel: bool = True) -> str:
    """What to put before the first user message, where system text stands; "" where no tool may be called.

    `parallel`: whether one reply may hold several calls.
    """
    if choice.mode == "none" or not tools:
        return ""
    lines = ["You have access to these functions, each described in JSON:", ""]
    lines += [_dump({"name": t.name, "description": t.description, "parameters": t.parameters}) for t in tools]
    lines += ["", "To call a function, write nothing but one line in this form:"]
    lines += ['{"name": function name, "parameters": dictionary of argument name and its value}']
    if choice.mode == "named":
        lines.append(f"Answer with a call of {choice.name}.")
        return "\n".join(lines)
    lines.append("For several calls write several such lines." if parallel else "Call at most one function at a time.")
    lines.append("Its result will be given to you in a tool_output block.")
    lines.append(
        "Answer with a call." if choice.mode == "required" else "If no function is needed, answer in plain words."
    )
    return "\n".join(lines)


def calls_text(calls: Sequence[Call]) -> str:
    """The model's turn that made these calls, for a conversation that goes on: a line each, as `calls.parse` reads it
    and as `grammar` has it written.

    Raises:
        UserError: a call's arguments are no JSON object, or its name is none.
    """
    lines = []
    for call in calls:
        try:
            values = json.loads(call.arguments)
        except (ValueError, RecursionError, TypeError):
            values = None
        if not isinstance(values, dict) or not _NAME.fullmatch(call.name):
            raise UserError(
                f"the call of {call.name!r:.80} has the arguments {call.arguments!r:.80}", hint="give a JSON object"
            )
        lines.append(_dump({"name": call.name, "parameters": values}, compact=True))
    return "\n".join(lines)


def results_text(results: Sequence[Result]) -> str:
    """The user's turn that gives the results, in the order of the calls: a line of JSON each, in one fence. No result
    can end the fence: line breaks in texts are written `\\n`."""
    lines = [_dump({"name": result.name, "output": _value(result.content)}) for result in results]
    return "\n".join(["```tool_output", *lines, "```"])


def _value(content: str) -> Any:
    """JSON lists and objects as they are, anything else as text."""
    if content.lstrip()[:1] not in ("{", "["):
        return content
    try:
        return json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return content


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _dump(value: Any, compact: bool = False) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":") if compact else None)


# ----------------------------------------------------------------------------------------------------------------------
# What the reply may be


def grammar(tools: Sequence[Tool], choice: Choice, parallel: bool = True) -> str | None:
    """The replies that are allowed, in llguidance's dialect of Lark; None where there is nothing to hold to.

    A call names a tool and its parameters follow the tool's schema, compact, at most `MOST_CALLS` a reply. With "auto"
    a reply that does not begin with `{` or white space is free text. A schema that cannot be enforced is found by
    whoever compiles this.
    """
    if choice.mode == "none" or not tools:
        return None
    offered = [tool for tool in tools if choice.mode != "named" or tool.name == choice.name]
    several = parallel and choice.mode != "named"
    more = rf' ("\n" call){{0,{MOST_CALLS - 1}}}' if several else ""
    rules = [
        "start: calls | TEXT?" if choice.mode == "auto" else "start: calls",
        f"calls: call{more}",
        "call: " + " | ".join(f"call_{index}" for index in range(len(offered))),
    ]
    if choice.mode == "auto":
        rules.append(r"TEXT: /[^{\s](.|\n)*/")
    for index, tool in enumerate(offered):
        head = json.dumps(f'{{"name":"{tool.name}","parameters":')
        schema = tool.parameters | {"x-guidance": _COMPACT | {"lenient": not tool.strict}}
        rules.append(f'call_{index}: {head} arguments_{index} "}}"')
        rules.append(f"arguments_{index}: %json {json.dumps(schema)}")
    return "\n".join(rules) + "\n"
