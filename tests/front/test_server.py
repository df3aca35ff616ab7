"""The server as clients meet it: the official openai client against a live one."""

from __future__ import annotations

import base64
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import hypothesis.strategies as st
import openai
import pytest
import torch

import gemwright
from gemwright.engine.request import Sampling
from gemwright.lm import LM
from gemwright.ops.span import span
from gemwright.server.schema import ChatBody, CompletionBody, EmbeddingsBody, ResponsesBody
from gemwright.text.turns import Message, render

sys.path.append(str(Path(__file__).resolve().parent))
from serving import CHAT, ENDLESS, PATIENCE, QUESTION, Live, ask, photo, running, shown, url

SCHEMA = {
    "type": "object",
    "properties": {"day": {"enum": ["mon", "tue"]}},
    "required": ["day"],
    "additionalProperties": False,
}
BIAS = {int(id): bias for id, bias in ENDLESS.items()}  # as the engine takes it
NEVER = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}  # no answer of it ends


def expected(lm: LM, **sampling: Any) -> Any:
    """What the engine itself says to the question."""
    assert lm.tokenizer is not None
    ids = render([Message("user", QUESTION[0]["content"])], lm.tokenizer).ids
    return lm.generate(ids, Sampling(**({"temperature": 0, "max_tokens": 12, "logit_bias": BIAS} | sampling)))


# ----------------------------------------------------------------------------------------------------------------------
# The official client


def test_a_chat_answers_as_the_engine_does(client: openai.OpenAI, lm: LM) -> None:
    found, own = ask(client), expected(lm)
    assert found.choices[0].message.content == own.text and found.choices[0].finish_reason == "length"
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (own.usage.prompt, 12)


def test_a_streams_parts_join_to_the_answer(client: openai.OpenAI, lm: LM) -> None:
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == expected(lm).text
    assert chunks[-2].choices[0].finish_reason == "length" and chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage.completion_tokens == 12 and not chunks[-1].choices


def test_logprobs_are_the_engines(client: openai.OpenAI, lm: LM) -> None:
    whole = ask(client, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    own = expected(lm, logprobs=2).logprobs
    assert [token.logprob for token in whole] == pytest.approx([token.logprob for token in own], abs=1e-4)
    assert all(len(token.top_logprobs) == 2 and token.top_logprobs[0].logprob >= token.logprob for token in whole)
    streamed = [
        token
        for chunk in ask(client, logprobs=True, top_logprobs=2, stream=True)
        if chunk.choices[0].logprobs
        for token in chunk.choices[0].logprobs.content
    ]
    assert [token.token for token in streamed] == [token.token for token in whole]
    assert b"".join(bytes(token.bytes) for token in whole).decode() == expected(lm).text


def test_n_answers_differ_and_a_seed_brings_them_back(client: openai.OpenAI) -> None:
    # Hot and long: however sure the model is of an answer, it does not draw it three times alike.
    drawn: Any = {"temperature": 2.0, "top_p": 1.0, "extra_body": {"top_k": 0}, "max_tokens": 40, "seed": 7, "n": 3}
    texts = [choice.message.content for choice in ask(client, **drawn).choices]
    again = [choice.message.content for choice in ask(client, **drawn).choices]
    assert texts == again and len(set(texts)) == 3
    assert ask(client, **(drawn | {"n": 1})).choices[0].message.content == texts[0]


def test_a_stop_string_ends_the_text_before_it(client: openai.OpenAI) -> None:
    whole = ask(client).choices[0].message.content
    stop = whole[5:8]
    found = ask(client, stop=[stop, "never said"]).choices[0]
    assert found.message.content == whole[: whole.index(stop)] and found.finish_reason == "stop"


def test_logit_bias_forces_and_forbids(client: openai.OpenAI, lm: LM) -> None:
    assert lm.tokenizer is not None
    first, token = expected(lm).ids[0], lm.tokenizer.encode("import")[0]
    assert token != first
    found = ask(client, logit_bias={str(token): 100}, max_tokens=1).choices[0].message.content
    assert found.strip() and found == lm.tokenizer.decode([token])
    forbidden = ENDLESS | {str(first): -100.0}
    assert ask(client, logit_bias=forbidden).choices[0].message.content != expected(lm).text


def test_a_second_turn_reads_only_what_is_new(client: openai.OpenAI) -> None:
    opening = [{"role": "user", "content": "Tell me of tuples and of lists and of all the rest."}]
    first = ask(client, messages=opening)
    said = {"role": "assistant", "content": first.choices[0].message.content}
    second = ask(client, messages=[*opening, said, {"role": "user", "content": "More."}])
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens


def test_completions_go_on_from_texts_and_from_ids(client: openai.OpenAI, lm: LM) -> None:
    settings: Any = {"model": "pocket", "temperature": 0, "max_tokens": 6, "logit_bias": ENDLESS}
    texts = client.completions.create(prompt=["def ", "import "], logprobs=1, **settings)
    sampling = Sampling(temperature=0, max_tokens=6, logit_bias=BIAS)
    own = [lm.generate(text, sampling) for text in ("def ", "import ")]
    assert [choice.text for choice in texts.choices] == [completion.text for completion in own]
    assert texts.usage is not None and texts.usage.prompt_tokens == sum(one.usage.prompt for one in own)
    assert "".join(texts.choices[0].logprobs.tokens) == own[0].text
    ids = client.completions.create(prompt=list(lm.engine.encode("def ")), **settings)
    assert ids.choices[0].text == own[0].text
    stream = client.completions.create(prompt="def ", stream=True, **settings)
    assert "".join(chunk.choices[0].text for chunk in stream) == own[0].text


def test_responses_are_the_chats_answers(client: openai.OpenAI, lm: LM) -> None:
    few = 3  # any answer to the question is longer
    settings: Any = {"model": "pocket", "input": QUESTION[0]["content"], "temperature": 0, "max_output_tokens": few}
    found, own = client.responses.create(**settings), expected(lm, max_tokens=few, logit_bias={})
    assert found.output_text == own.text and own.text.strip() and found.status == "incomplete"
    assert found.usage.output_tokens == few
    events = list(client.responses.create(**settings, stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == found.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created" and events[-1].type == "response.incomplete"


def test_embeddings_are_the_mean_hidden_state_made_one_long(client: openai.OpenAI, lm: LM) -> None:
    long = "the list and the tuple " * 150  # more than one chunk of work
    found = client.embeddings.create(model="pocket", input=["a list", long], encoding_format="float").data
    for text, one in zip(("a list", long), found, strict=True):
        ids = torch.tensor(lm.engine.encode(text))
        with torch.no_grad():
            mean = lm.model(ids, span([len(ids)])).double().mean(0)
        assert torch.allclose(
            torch.tensor(one.embedding).double(), mean / mean.norm(), atol=3e-4
        )  # of bfloat16, in chunks
        assert math.fsum(value * value for value in one.embedding) == pytest.approx(1, abs=1e-5)
    packed = client.embeddings.create(model="pocket", input="a list", encoding_format="base64").data[0].embedding
    assert isinstance(packed, str) and len(base64.b64decode(packed)) == 4 * len(found[0].embedding)


def test_tools_are_told_to_the_model_and_its_words_come_back(client: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    found, plain = ask(client, tools=tools), ask(client)
    assert found.usage.prompt_tokens > plain.usage.prompt_tokens
    streamed = ask(client, tools=tools, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == found.choices[0].message.content
    assert ask(client, tools=tools, tool_choice="none").choices[0].message.content == plain.choices[0].message.content


def test_a_json_schema_is_followed(client: openai.OpenAI) -> None:
    inner = {"name": "day", "schema": SCHEMA, "strict": True}
    settings: Any = {"response_format": {"type": "json_schema", "json_schema": inner}, "max_tokens": 60}
    found = ask(client, **settings).choices[0]
    assert found.finish_reason == "stop" and json.loads(found.message.content)["day"] in ("mon", "tue")
    streamed = ask(client, stream=True, **settings)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == found.message.content
    text: Any = {"format": {"type": "json_schema", **inner}}
    answer = client.responses.create(model="pocket", input="Hello", text=text, max_output_tokens=60)
    assert json.loads(answer.output_text)["day"] in ("mon", "tue")


def test_a_required_tool_is_called(client: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", "function": {"name": "set_day", "parameters": SCHEMA, "strict": True}}]
    for choice in ("required", {"type": "function", "function": {"name": "set_day"}}):
        settings: Any = {"tools": tools, "tool_choice": choice, "parallel_tool_calls": False, "max_tokens": 80}
        found = ask(client, **settings).choices[0]
        (call,) = found.message.tool_calls
        assert call.function.name == "set_day" and json.loads(call.function.arguments)["day"] in ("mon", "tue")


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list().data] == ["pocket"]
    assert client.models.retrieve("pocket").id == "pocket"
    with pytest.raises(openai.NotFoundError, match="another"):
        client.models.retrieve("another")


# ----------------------------------------------------------------------------------------------------------------------
# Pictures


def test_pictures_are_seen_as_the_engines_own_chat_sees_them(seeing: LM) -> None:
    files = [photo(1), photo(2)]
    with running(seeing, image_pixels=1_000_000) as live:
        client = live.client()
        assert httpx.get(live.url + "/v1/models").json()["data"][0]["images"] is True
        model = client.models.list().data[0].id
        for file in files:
            parts = [{"type": "text", "text": "See:"}, {"type": "image_url", "image_url": {"url": url(file)}}]
            messages: Any = [{"role": "user", "content": parts}]
            found = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=6)
            own = seeing.chat(sampling=Sampling(temperature=0, max_tokens=6)).say("See:<start_of_image>", images=[file])
            assert found.choices[0].message.content == own.text
            assert found.usage is not None and found.usage.prompt_tokens == own.usage.prompt
        large = [{"type": "image_url", "image_url": {"url": url(photo(3, (1200, 900)))}}]
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model=model, messages=[{"role": "user", "content": large}])  # type: ignore[arg-type]
        assert refused.value.param == "messages.0.content.0" and "1 million" in refused.value.message


# ----------------------------------------------------------------------------------------------------------------------
# Refusals


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"invented": 1}, "invented"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "messages"),
        ({"stop": ["x"] * 10_000}, "stop"),
        ({"stop": "x" * 1000}, "stop"),
        ({"n": 1000}, "n"),
        ({"logit_bias": {"cat": 1}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "any"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": NEVER}}}, "response_format"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"messages": shown("http://169.254.169.254/latest")}, "messages.0.content.0.image_url"),
        ({"messages": shown("data:image/png;base64,%%%")}, "messages.0.content.0.image_url"),
        ({"messages": [{"role": "user", "content": "word " * 5000}]}, None),
        ({"logit_bias": {"99999999": 1}, "stream": True}, None),
    ],
)
def test_a_mistake_is_400_and_names_the_field(client: openai.OpenAI, changes: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as found:
        ask(client, extra_body=changes)
    assert found.value.param == param and found.value.type == "invalid_request_error"


def test_a_picture_for_a_model_that_does_not_see_is_400(tiny: Path) -> None:
    refused = pytest.raises(openai.BadRequestError, match="sees no pictures")
    with running(gemwright.load(tiny)) as live, live.client() as client, refused as found:
        ask(client, model="tiny", messages=shown(url(photo(0))))
    assert found.value.param == "messages.0.content.0"


def test_another_model_is_404(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as found:
        ask(client, model="gpt")
    assert found.value.code == "model_not_found"


def test_what_is_no_route_is_refused_in_openais_shape(live: Live) -> None:
    for method, path, status in (("GET", "/v1/nothing", 404), ("GET", CHAT, 405), ("POST", "/v1/models", 405)):
        found = httpx.request(method, live.url + path)
        assert found.status_code == status and set(found.json()["error"]) == {"message", "type", "param", "code"}


def test_the_page_and_its_files_are_served_and_no_other_file_is(live: Live) -> None:
    page = httpx.get(live.url + "/")
    assert page.status_code == 200 and page.headers["Content-Type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert httpx.get(live.url + "/page.js").headers["Content-Type"].startswith("text/javascript")
    for path in ("/../http.py", "/%2e%2e/http.py", "/?file=/etc/passwd", "/web/page.js"):
        found = httpx.get(live.url + path)
        assert found.status_code == 404 or found.text == page.text


def test_the_document_describes_every_body(live: Live) -> None:
    document = httpx.get(live.url + "/openapi.json").json()
    schemas = document["components"]["schemas"]
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert {"ChatBody", "CompletionBody", "ResponsesBody", "EmbeddingsBody", "Part"} <= referred <= schemas.keys()


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats(-2, 3) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
VALID = {
    CHAT: ({"messages": QUESTION, "max_tokens": 2}, ChatBody),
    "/v1/completions": ({"prompt": "x", "max_tokens": 2}, CompletionBody),
    "/v1/responses": ({"input": "x", "max_output_tokens": 2}, ResponsesBody),
    "/v1/embeddings": ({"input": "x"}, EmbeddingsBody),
}


@hypothesis.given(data=st.data(), route=st.sampled_from(sorted(VALID)))
def test_no_value_of_any_field_is_answered_by_a_5xx(live: Live, data: st.DataObject, route: str) -> None:
    body, kind = VALID[route]
    changed = body | data.draw(st.dictionaries(st.sampled_from(sorted(kind.model_fields)), ANY, max_size=2))
    changed |= {key: value for key, value in body.items() if key.startswith("max_")}
    hypothesis.assume(not isinstance(changed.get("n"), int) or changed["n"] < 17)
    found = httpx.post(live.url + route, json=changed, timeout=PATIENCE)
    assert found.status_code in (200, 400, 404), found.text


def test_a_body_that_is_no_json_is_400(live: Live) -> None:
    for body in (b"{", b"", b"[]", b"\xff", b'{"a":' * 10_000):
        found = httpx.post(live.url + CHAT, content=body)
        assert found.status_code == 400 and found.json()["error"]["message"]
