"""Tools as OpenAI's interface gives them, and what becomes of them in a prompt of Gemma's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemwright.errors import UserError
from gemwright.text import calls, tools
from gemwright.text.calls import Call
from gemwright.text.tools import Choice, Result

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOCK = {"type": "function", "name": "clock", "strict": True}
BOTH = tools.read_tools([WEATHER, CLOCK])
NAMED = {"type": "function", "function": {"name": "clock"}}


def test_both_forms_of_a_function_are_read() -> None:
    weather, clock = BOTH
    assert (weather.name, weather.description, weather.strict) == ("get_weather", "The weather of a place", False)
    assert weather.parameters["required"] == ["city"]
    assert (clock.name, clock.description, clock.strict) == ("clock", "", True)
    assert clock.parameters == {"type": "object", "properties": {}, "additionalProperties": False}


def changed(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f"} | fields}


def nested() -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(100_000):
        inner = {"a": inner}
    return {"properties": inner}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("tools", "list"),
        ([WEATHER] * 129, "128"),
        ([CLOCK, CLOCK], "tool 1 is called 'clock'"),
        ([CLOCK, "f"], "tool 1 is no function"),
        ([{"type": "code_interpreter"}], "no function"),
        ([{"type": "function", "function": None}], "name"),
        ([changed(name="")], "name ''"),
        ([changed(name='a"b')], "name"),
        ([changed(name="x" * 65)], "name"),
        ([changed(description=3)], "description"),
        ([changed(strict="yes")], "strict"),
        ([changed(parameters={"type": "array"})], "JSON schema of an object"),
        ([changed(parameters=[])], "JSON schema of an object"),
        ([changed(parameters={"properties": {"a": {1}}})], "no JSON"),
        ([changed(parameters=nested())], "no JSON"),
    ],
)
def test_a_tool_that_cannot_be_used_is_named(given: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        tools.read_tools(given)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (None, Choice("auto")),
        ("auto", Choice("auto")),
        ("none", Choice("none")),
        ("required", Choice("required")),
        (NAMED, Choice("named", "clock")),
        ({"type": "function", "name": "clock"}, Choice("named", "clock")),
    ],
)
def test_a_choice_is_read(given: Any, read: Choice) -> None:
    assert tools.read_choice(given, BOTH) == read


@pytest.mark.parametrize("given", ["any", 3, {"type": "function", "function": {"name": "no"}}, {"type": "mcp"}])
def test_a_choice_that_means_nothing_is_refused(given: Any) -> None:
    with pytest.raises(UserError, match="tool_choice"):
        tools.read_choice(given, BOTH)


def test_without_tools_there_is_nothing_to_choose() -> None:
    assert tools.read_choice(None, ()) == tools.read_choice("auto", ()) == Choice("none")
    for wish in ("required", NAMED):
        with pytest.raises(UserError, match="no tools"):
            tools.read_choice(wish, ())


def test_the_prompt_describes_every_tool_in_a_line_of_json() -> None:
    lines = tools.instructions(BOTH, Choice("auto")).splitlines()
    described = [json.loads(line) for line in lines if line.startswith('{"name": "')]
    assert [(one["name"], one["parameters"]) for one in described] == [(tool.name, tool.parameters) for tool in BOTH]


def test_the_prompt_says_what_the_choice_asks_for() -> None:
    texts = [
        tools.instructions(BOTH, choice, parallel)
        for choice in (Choice("auto"), Choice("required"), Choice("named", "clock"))
        for parallel in (True, False)
    ]
    assert len(set(texts)) == 5  # one named function is called once
    assert "plain words" in texts[0] and "several" in texts[0] and "several" not in texts[1]
    assert "plain words" not in texts[2] and texts[4].endswith("a call of clock.")


def test_a_choice_of_none_says_nothing_and_holds_to_nothing() -> None:
    for offered, choice in ((BOTH, Choice("none")), ((), Choice("auto"))):
        assert tools.instructions(offered, choice) == "" and tools.grammar(offered, choice) is None


VALUES = st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=10), max_size=3)


@given(st.lists(st.tuples(st.sampled_from(["clock", "get_weather"]), VALUES), max_size=4))
def test_the_models_turn_is_read_back_as_its_calls(made: list[tuple[str, dict[str, Any]]]) -> None:
    written = tools.calls_text([Call(name, json.dumps(values)) for name, values in made])
    reply = calls.parse(written, ["clock", "get_weather"])
    assert (reply.text, reply.problems) == ("", ())
    assert [(call.name, call.values) for call in reply.calls] == made


@pytest.mark.parametrize("call", [Call("f", "[]"), Call("f", "{"), Call("f", "[" * 10**5), Call('f"', "{}")])
def test_calls_that_are_none_are_not_written(call: Call) -> None:
    with pytest.raises(UserError, match="arguments"):
        tools.calls_text([call])


@given(st.lists(st.tuples(st.sampled_from(["clock", "f"]), st.text(max_size=30) | st.just("```\n```")), max_size=3))
def test_results_are_lines_of_json_in_one_fence(given: list[tuple[str, str]]) -> None:
    first, *lines, last = tools.results_text([Result(name, content) for name, content in given]).split("\n")
    assert (first, last) == ("```tool_output", "```")
    read = [json.loads(line) for line in lines]
    assert [one["name"] for one in read] == [name for name, _ in given]
    for one, (_, content) in zip(read, given, strict=True):
        assert one["output"] == content or one["output"] == json.loads(content)


def test_json_results_are_shown_as_what_they_say() -> None:
    results = [Result("f", '{"degrees": 3}'), Result("f", '{"degrees": NaN}'), Result("f", "12")]
    assert tools.results_text(results).split("\n")[1:-1] == [
        '{"name": "f", "output": {"degrees": 3}}',
        '{"name": "f", "output": "{\\"degrees\\": NaN}"}',
        '{"name": "f", "output": "12"}',
    ]


def test_only_the_offered_calls_stand_in_the_grammar() -> None:
    named = tools.grammar(BOTH, Choice("named", "clock"))
    assert named is not None and "get_weather" not in named and "TEXT" not in named and "{0,31}" not in named
    required, alone = tools.grammar(BOTH, Choice("required")), tools.grammar(BOTH, Choice("required"), parallel=False)
    assert required is not None and "{0,31}" in required and "TEXT" not in required
    assert alone is not None and "{0,31}" not in alone
