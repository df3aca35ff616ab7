"""Bodies in OpenAI's shape: what is taken, what is refused, and where the fault is said to be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gemwright.server.errors import ApiError
from gemwright.server.schema import ChatBody, CompletionBody, EmbeddingsBody, parse

SAID = {"messages": [{"role": "user", "content": "Hello"}]}


def refused(kind: Any, body: Any) -> ApiError:
    with pytest.raises(ApiError) as found:
        parse(kind, body if isinstance(body, bytes) else json.dumps(body).encode())
    return found.value


def test_fields_that_change_no_answer_are_taken() -> None:
    more = {
        "user": "someone",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "parallel_tool_calls": True,
    }
    assert parse(ChatBody, json.dumps(SAID | more).encode()).messages[0].content == "Hello"


def test_a_message_that_the_client_got_is_taken_back() -> None:
    reply = {"role": "assistant", "content": "Hi", "refusal": None, "annotations": None, "audio": None}
    reply |= {"tool_calls": None, "function_call": None}
    body = {"messages": [*SAID["messages"], reply, *SAID["messages"]]}
    assert parse(ChatBody, json.dumps(body).encode()).messages[1].role == "assistant"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"stream_options": {"else": 1}}, "stream_options.else"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "user", "content": [{"type": "film"}]}]}, "messages.0.content.0.type"),
        ({"messages": [{"role": "narrator", "content": ""}]}, "messages.0.role"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"priority": 1}, "priority"),
    ],
)
def test_the_field_at_fault_is_named(more: dict[str, Any], param: str) -> None:
    error = refused(ChatBody, SAID | more)
    assert (error.status, error.param) == (400, param) and error.message.startswith(param)


def test_an_unknown_field_is_refused_by_name() -> None:
    assert refused(ChatBody, SAID | {"best": 1}).code == "unknown_parameter"


def test_numbers_that_json_does_not_have_are_refused() -> None:
    assert refused(ChatBody, b'{"messages": [{"role": "user", "content": ""}], "temperature": NaN}').status == 400


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"5", b"\xff", b'{"a":' * 100_000])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    assert refused(ChatBody, data).status == 400


@pytest.mark.parametrize("given", ["text", ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_prompts_come_in_four_forms(given: Any) -> None:
    assert parse(CompletionBody, json.dumps({"prompt": given}).encode()).prompt == given
    assert parse(EmbeddingsBody, json.dumps({"input": given}).encode()).input == given


def test_a_long_list_of_mistakes_makes_one_error() -> None:
    data = b'{"prompt": [' + b",".join([b"{}"] * 100_000) + b"]}"
    assert refused(CompletionBody, data).param == "prompt.0"
