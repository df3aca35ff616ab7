"""From bodies to what the engine is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gemwright.engine.request import Sampling
from gemwright.errors import UserError
from gemwright.server.ask import Ask, Said, of_chat, of_completion, of_response, picture_bytes
from gemwright.server.errors import ApiError
from gemwright.server.schema import ChatBody, CompletionBody, ResponsesBody, parse
from gemwright.text.calls import parse as read_reply

HELLO = {"role": "user", "content": "Hello"}


def chat(messages: list[Any], **more: Any) -> Ask:
    return of_chat(parse(ChatBody, json.dumps({"messages": messages} | more).encode()))


def completion(**body: Any) -> Ask:
    return of_completion(parse(CompletionBody, json.dumps({"prompt": "x"} | body).encode()))


def said(ask: Ask) -> list[tuple[str, str]]:
    (prompt,) = ask.prompts
    return [(one.role, one.text) for one in prompt if isinstance(one, Said)]


def test_every_option_reaches_the_sampling() -> None:
    options = {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "seed": 3}
    ask = chat([HELLO], **options, stop="end", logit_bias={"7": -100}, max_tokens=9, logprobs=True, top_logprobs=2)
    expected = Sampling(**options, stop=("end",), logit_bias={7: -100}, max_tokens=9, logprobs=2)
    assert ask.sampling == expected


def test_a_client_may_have_answers_go_on_to_their_limit() -> None:
    assert completion(ignore_eos=True, max_tokens=9).sampling == Sampling(ignore_eos=True, max_tokens=9)
    assert not chat([HELLO], ignore_eos=False).sampling.ignore_eos


def test_a_client_may_stand_back_for_others() -> None:
    response = of_response(parse(ResponsesBody, json.dumps({"input": "x", "priority": -3}).encode()))
    assert chat([HELLO], priority=-3).priority == completion(priority=-3).priority == response.priority == -3
    assert chat([HELLO]).priority == 0


def test_what_is_left_out_is_left_to_the_checkpoint() -> None:
    assert chat([HELLO]).sampling == completion().sampling == Sampling()


def test_the_newer_name_of_the_limit_goes_first() -> None:
    assert chat([HELLO], max_tokens=5, max_completion_tokens=6).sampling.max_tokens == 6


def test_neighbours_of_one_role_become_one_message() -> None:
    messages = [{"role": "system", "content": "A"}, {"role": "developer", "content": "B"}, HELLO, HELLO]
    assert said(chat(messages)) == [("system", "A\n\nB"), ("user", "Hello\n\nHello")]


def test_parts_of_a_message_are_joined() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert said(chat([{"role": "user", "content": parts}])) == [("user", "one two")]


def test_a_picture_stands_where_the_client_put_it() -> None:
    url = "data:image/png;base64,AAEC"
    parts = [{"type": "text", "text": "left "}, {"type": "image_url", "image_url": {"url": url, "detail": "high"}}]
    (prompt,) = chat([{"role": "user", "content": [*parts, {"type": "text", "text": " right"}]}]).prompts
    assert isinstance(prompt[0], Said) and prompt[0].text == "left <start_of_image> right"
    (photo,) = prompt[0].images
    assert (photo.data, photo.pan_scan, photo.param) == (b"\0\1\2", True, "messages.0.content.1")


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/a.png", "file:///etc/passwd", "", "data:image/png,abc", "data:;base64,%"]
)
def test_only_data_urls_are_pictures(url: str) -> None:
    with pytest.raises(ApiError):
        picture_bytes(url, "here")


def test_an_answer_to_the_assistant_is_refused() -> None:
    with pytest.raises(ApiError, match="nothing to answer"):
        chat([HELLO, {"role": "assistant", "content": "Hi"}])


def test_a_seed_gives_each_answer_its_own() -> None:
    seeds = [one.seed for one in chat([HELLO], seed=5, n=3).samplings()]
    assert seeds == [5, 6, 7]
    assert [one.seed for one in chat([HELLO], n=2).samplings()] == [None, None]


def test_completions_take_several_prompts() -> None:
    assert completion(prompt=["a", "b"]).prompts == ("a", "b")
    assert completion(prompt=[1, 2]).prompts == ((1, 2),)
    assert completion(prompt=[[1], [2]]).prompts == ((1,), (2,))


@pytest.mark.parametrize(
    "body", [{"echo": True}, {"suffix": "x"}, {"best_of": 2}, {"prompt": []}, {"n": 2, "best_of": 3}]
)
def test_what_is_not_done_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises((ApiError, UserError)):
        completion(**body)


def test_a_response_puts_the_instructions_first() -> None:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}
    body = {"input": [item], "instructions": "Be brief.", "max_output_tokens": 4}
    ask = of_response(parse(ResponsesBody, json.dumps(body).encode()))
    assert said(ask) == [("system", "Be brief."), ("user", "Hello")] and ask.sampling.max_tokens == 4


WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


def test_a_format_is_kept_as_the_client_wrote_it() -> None:
    shape = {"type": "json_object"}
    assert chat([HELLO], response_format=shape).structure.response_format == shape
    assert chat([HELLO], response_format={"type": "text"}).structure.response_format is None


def test_tools_are_told_after_the_system_text() -> None:
    ask = chat([{"role": "system", "content": "Be brief."}, HELLO], tools=[WEATHER])
    (system, told), (user, text) = said(ask)
    assert system == "system" and told.startswith("Be brief.\n\n") and '"weather"' in told
    assert (user, text) == ("user", "Hello") and ask.structure.names == {"weather"}
    silent = chat([HELLO], tools=[WEATHER], tool_choice="none")
    assert said(silent) == [("user", "Hello")] and not silent.structure.names


def test_calls_stand_in_the_models_turn_and_results_in_one_fence_of_the_users() -> None:
    calls = [
        {"id": str(n), "type": "function", "function": {"name": "weather", "arguments": f'{{"city": {n}}}'}}
        for n in (1, 2)
    ]
    results = [{"role": "tool", "tool_call_id": str(n), "content": f"rain {n}"} for n in (1, 2)]
    found = said(chat([HELLO, {"role": "assistant", "content": None, "tool_calls": calls}, *results]))
    assert [role for role, _ in found] == ["user", "model", "user"]
    assert [call.values for call in read_reply(found[1][1], {"weather"}).calls] == [{"city": 1}, {"city": 2}]
    assert found[2][1].count("```") == 2 and "rain 1" in found[2][1] and "rain 2" in found[2][1]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "content": "x", "tool_call_id": "unknown"}, "messages.1.tool_call_id"),
        ({"role": "assistant", "tool_calls": [{"id": "1"}]}, "messages.1.tool_calls"),
        (
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "["}}]},
            "messages.1.tool_calls",
        ),
    ],
)
def test_calls_and_results_that_fit_nothing_are_refused(message: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as found:
        chat([HELLO, message])
    assert found.value.param == param


@pytest.mark.parametrize(
    ("more", "param"),
    [({"tools": [{"type": "film"}]}, "tools"), ({"tool_choice": "required"}, "tool_choice")],
)
def test_tools_that_are_none_are_refused(more: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as found:
        chat([HELLO], **more)
    assert found.value.param == param
