"""Tools, forms of answers and pictures through the official openai client, as its own helpers read them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import openai
import pydantic
import pytest

from gemwright.lm import LM
from gemwright.text.tokenizer import Tokenizer

sys.path.append(str(Path(__file__).resolve().parent))
from serving import QUESTION, ask, photo, running, shown, url


class Day(pydantic.BaseModel):
    """A form of answers that is told to the client as a class."""

    day: Literal["mon", "tue"]
    hour: Literal[1, 2]


PARAMETERS = {
    "type": "object",
    "properties": {"day": {"enum": ["mon", "tue"]}},
    "required": ["day"],
    "additionalProperties": False,
}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "parameters": PARAMETERS, "strict": True}}
    for name in ("set_day", "clear_day")
]
CALLED: dict[str, Any] = {"tools": TOOLS, "tool_choice": "required", "max_tokens": 80}


@pytest.fixture(scope="module")
def going_on(lm: LM) -> dict[str, float]:
    """A bias against ending: after a call comes another."""
    assert isinstance(lm.tokenizer, Tokenizer)
    return {str(id): -100.0 for id in (lm.tokenizer.eos, lm.tokenizer.end_of_turn) if id is not None}


def streamed(chunks: Any) -> dict[int, list[Any]]:
    """The parts of each call, in the order they came."""
    found: dict[int, list[Any]] = {}
    for chunk in chunks:
        for part in (chunk.choices[0].delta.tool_calls or ()) if chunk.choices else ():
            found.setdefault(part.index, []).append(part)
    return found


def test_one_answer_may_hold_several_calls(client: openai.OpenAI, going_on: dict[str, float]) -> None:
    found = ask(client, **CALLED, logit_bias=going_on).choices[0]
    calls = found.message.tool_calls
    assert len(calls) > 1 and len({call.id for call in calls}) == len(calls)
    for call in calls:
        assert call.function.name in ("set_day", "clear_day")
        assert json.loads(call.function.arguments)["day"] in ("mon", "tue")
    one = ask(client, **CALLED, parallel_tool_calls=False, logit_bias=going_on).choices[0]
    assert len(one.message.tool_calls) == 1 and one.finish_reason == "tool_calls"


def test_streamed_arguments_join_to_the_calls_of_the_whole_answer(
    client: openai.OpenAI, going_on: dict[str, float]
) -> None:
    whole = ask(client, **CALLED, logit_bias=going_on).choices[0].message.tool_calls
    parts = streamed(ask(client, **CALLED, logit_bias=going_on, stream=True))
    assert sorted(parts)[: len(whole)] == list(range(len(whole)))
    for index, call in enumerate(whole):
        first, *more = parts[index]
        assert first.id and first.type == "function" and first.function.name == call.function.name
        assert not any(part.id or part.function.name for part in more)
        assert "".join(part.function.arguments for part in parts[index]) == call.function.arguments


def test_the_clients_own_stream_helper_ends_with_the_whole_answer(client: openai.OpenAI) -> None:
    body: Any = {"model": "pocket", "messages": QUESTION, "temperature": 0, "parallel_tool_calls": False}
    with client.chat.completions.stream(**body, **CALLED) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion().choices[0]
    assert "tool_calls.function.arguments.delta" in kinds and final.finish_reason == "tool_calls"
    (call,) = final.message.tool_calls or ()
    (same,) = ask(client, **CALLED, parallel_tool_calls=False).choices[0].message.tool_calls
    assert call.function.arguments == same.function.arguments


def test_a_conversation_goes_on_with_the_calls_results(client: openai.OpenAI) -> None:
    first = ask(client, **CALLED, parallel_tool_calls=False)
    message = first.choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": '{"done": true}'}
    second = ask(client, messages=[*QUESTION, message, result], tools=TOOLS)
    assert second.usage.prompt_tokens > first.usage.prompt_tokens and second.choices[0].message.content is not None
    stranger = result | {"tool_call_id": "call_unknown"}
    with pytest.raises(openai.BadRequestError, match="answers no call"):
        ask(client, messages=[*QUESTION, message, stranger], tools=TOOLS)


def test_a_class_is_a_form_of_answers(client: openai.OpenAI) -> None:
    body: Any = {"model": "pocket", "temperature": 0}
    found = client.chat.completions.parse(messages=QUESTION, response_format=Day, max_tokens=60, **body)
    assert isinstance(found.choices[0].message.parsed, Day)
    answer = client.responses.parse(input="Hello", text_format=Day, max_output_tokens=60, **body)
    assert isinstance(answer.output_parsed, Day)


def test_an_answer_cut_within_its_form_is_told_as_such(client: openai.OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="pocket", messages=QUESTION, response_format=Day, max_tokens=3)


def test_cached_tokens_are_counted_on_every_route(client: openai.OpenAI) -> None:
    text = "Tell me of dictionaries and of sets and of whatever else there may be."
    question: Any = [{"role": "user", "content": text}]
    ask(client, messages=question)
    *_, last = ask(client, messages=question, stream=True, stream_options={"include_usage": True})
    assert 0 < last.usage.prompt_tokens_details.cached_tokens < last.usage.prompt_tokens
    answer = client.responses.create(model="pocket", input=text, max_output_tokens=2)
    assert answer.usage is not None and 0 < answer.usage.input_tokens_details.cached_tokens < answer.usage.input_tokens
    (opening, *_) = client.completions.create(model="pocket", prompt=text, max_tokens=2), None
    again = client.completions.create(model="pocket", prompt=text, max_tokens=2)
    assert opening.usage and again.usage and again.usage.prompt_tokens_details
    assert again.usage.prompt_tokens_details.cached_tokens == opening.usage.prompt_tokens - 1


def test_a_picture_is_seen_alike_whole_streamed_and_as_a_response(seeing: LM) -> None:
    address = url(photo(4))
    with running(seeing) as live, live.client() as client:
        settings: Any = {"model": live.service.name, "temperature": 0}
        whole = client.chat.completions.create(messages=shown(address), max_tokens=6, **settings)  # type: ignore[call-overload]
        stream = client.chat.completions.create(messages=shown(address), max_tokens=6, stream=True, **settings)  # type: ignore[call-overload]
        said = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        item: Any = {"role": "user", "content": [{"type": "input_image", "image_url": address, "detail": "auto"}]}
        answer = client.responses.create(input=[item], max_output_tokens=6, **settings)
        assert whole.choices[0].message.content == said == answer.output_text
        bare = client.responses.create(input="", max_output_tokens=6, **settings)
        assert answer.usage and bare.usage and answer.usage.input_tokens > bare.usage.input_tokens + 4


def test_refusals_are_the_clients_own_exceptions_on_every_route(client: openai.OpenAI) -> None:
    calls = (
        lambda: client.completions.create(model="pocket", prompt="x", max_tokens=0),
        lambda: client.responses.create(model="pocket", input=[]),
        lambda: client.embeddings.create(model="pocket", input=""),
        lambda: ask(client, messages=[]),
    )
    for call in calls:
        with pytest.raises(openai.BadRequestError) as found:
            call()
        assert found.value.type == "invalid_request_error" and found.value.param
    with pytest.raises(openai.BadRequestError):
        ask(client, stream=True, max_tokens=0)
