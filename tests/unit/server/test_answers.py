"""Completions in OpenAI's shape, whole and in chunks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gemwright.engine.request import Completion, Event, FinishReason, Sampling, TokenLogprob, Usage
from gemwright.server.answers import Answer, Pieces, number, usage
from gemwright.server.ask import Ask, Structure
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.tools import Choice, Tool

TOOLS = (Tool(name="weather", description="", parameters={"type": "object"}, strict=False),)
CALLS = 'Let me look.\n{"name": "weather", "parameters": {"city": "Oslo"}}\n{"name": "weather", "parameters": {}}'


def ask(structure: Structure | None = None, **changes: Any) -> Ask:
    settings = {"route": "chat", "model": None, "prompts": ((),), "sampling": Sampling(), "n": 1, "stream": True}
    return Ask(**(settings | {"include_usage": False, "structure": structure or Structure()} | changes))  # type: ignore[arg-type]


def completion(text: str, reason: FinishReason = "stop", **changes: Any) -> Completion:
    used = Usage(prompt=5, cached=2, completion=3, prefill_seconds=0, decode_seconds=0)
    settings = {"text": text, "ids": (1,), "logprobs": None, "finish_reason": reason, "usage": used, "seed": 0}
    return Completion(**(settings | changes))


def streamed(answer: Answer, text: str, size: int, reason: FinishReason = "stop") -> list[dict[str, Any]]:
    """The choices of all chunks of an answer that comes in pieces of `size` characters."""
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    events = [Event(request=0, id=1, text=piece, logprob=None, completion=None) for piece in pieces]
    events.append(Event(request=0, id=1, text="", logprob=None, completion=completion(text, reason)))
    return [chunk["choices"][0] for event in events for chunk in answer.parts(0, event)]


def test_a_prompt_with_several_answers_counts_once() -> None:
    found = usage([completion("x")] * 6, n=3)
    assert (found["prompt_tokens"], found["completion_tokens"], found["total_tokens"]) == (10, 18, 28)
    assert found["prompt_tokens_details"] == {"cached_tokens": 4}


def test_guesses_are_counted_as_openai_counts_predictions() -> None:
    used = Usage(prompt=5, cached=2, completion=9, prefill_seconds=0, decode_seconds=0, proposed=8, accepted=5)
    found = usage([completion("x", usage=used), completion("y", usage=used)], n=1)["completion_tokens_details"]
    assert found == {"accepted_prediction_tokens": 10, "rejected_prediction_tokens": 6}


@pytest.mark.parametrize("value", [float("-inf"), float("nan"), -1e30])
def test_a_logprob_is_a_number_that_json_has(value: float) -> None:
    assert number(value) == -9999.0 and number(-1.5) == -1.5


def test_the_mark_that_ends_an_answer_is_not_shown(tokenizer: Tokenizer) -> None:
    end, word = tokenizer.eos, tokenizer.encode("the")[0]
    tokens = tuple(TokenLogprob(id=id, logprob=-1.0, top=()) for id in (word, end))
    found = Answer(ask(), "m", Pieces(tokenizer)).whole([completion("the", logprobs=tokens)])
    assert [entry["token"] for entry in found["choices"][0]["logprobs"]["content"]] == ["the"]


def test_text_offsets_of_a_completion_count_characters(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the and in")
    tokens = tuple(TokenLogprob(id=id, logprob=-1.0, top=((id, -1.0),)) for id in ids)
    found = Answer(ask(route="completion"), "m", Pieces(tokenizer)).whole([completion("the and in", logprobs=tokens)])
    logprobs = found["choices"][0]["logprobs"]
    text = "".join(logprobs["tokens"])
    assert text == "the and in" and logprobs["text_offset"][0] == 0
    assert logprobs["text_offset"] == [len("".join(logprobs["tokens"][:at])) for at in range(len(ids))]
    assert all(
        text[at:].startswith(token) for token, at in zip(logprobs["tokens"], logprobs["text_offset"], strict=True)
    )


def test_calls_are_taken_out_of_the_text() -> None:
    answer = Answer(ask(Structure(tools=TOOLS, choice=Choice("auto"))), "m", Pieces(None))
    choice = answer.whole([completion(CALLS)])["choices"][0]
    calls = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"].strip() == "Let me look."
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"city": "Oslo"}, {}]
    assert len({call["id"] for call in calls}) == 2


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_streamed_calls_join_to_the_whole_ones(size: int) -> None:
    structure = Structure(tools=TOOLS, choice=Choice("auto"))
    whole = Answer(ask(structure), "m", Pieces(None)).whole([completion(CALLS)])["choices"][0]["message"]
    choices = streamed(Answer(ask(structure), "m", Pieces(None)), CALLS, size)
    text, names, arguments = "", {}, {0: "", 1: ""}
    for choice in choices:
        text += choice["delta"].get("content") or ""
        for call in choice["delta"].get("tool_calls", ()):
            names.setdefault(call["index"], call["function"].get("name"))
            arguments[call["index"]] += call["function"]["arguments"]
    assert text == whole["content"] and names == {0: "weather", 1: "weather"}
    assert list(arguments.values()) == [call["function"]["arguments"] for call in whole["tool_calls"]]
    assert choices[-1]["finish_reason"] == "tool_calls" and choices[-1]["delta"] == {}


def test_without_tools_what_looks_like_a_call_is_text() -> None:
    for structure in (Structure(), Structure(tools=TOOLS)):
        answer = Answer(ask(structure), "m", Pieces(None))
        assert answer.whole([completion(CALLS)])["choices"][0]["message"]["content"] == CALLS
        assert "".join(choice["delta"].get("content", "") for choice in streamed(answer, CALLS, 5)) == CALLS


def test_an_answer_that_its_limit_cut_says_so() -> None:
    structure = Structure(tools=TOOLS, choice=Choice("auto"))
    choices = streamed(Answer(ask(structure), "m", Pieces(None)), CALLS[:-8], 4, "length")
    assert choices[-1]["finish_reason"] == "length"
