"""A conversation: the cached past and a fresh reading of it give the same next turn."""

from __future__ import annotations

import dataclasses
import math
import string
from collections.abc import Callable
from typing import Any

import pytest

from gemwright.engine.chat import Chat, Transcript
from gemwright.engine.engine import Engine
from gemwright.engine.request import Completion, Request, Sampling
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.text.template import BUILT_IN, ChatTemplate
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import Message, render

pytestmark = pytest.mark.usefixtures("one_thread")

Tiny = Callable[[str], Decoder]
FREE = Sampling(temperature=0, max_tokens=12, ignore_eos=True)
# Letters without merges between them, so that a reply's text has one spelling in ids; and the end of the turn.
LETTERS = [267 + string.ascii_lowercase.index(letter) for letter in "bcfjklmpqsuvwxyz"]
END_OF_TURN = 6


def spelled(*, ends: bool = True, **changes: Any) -> Sampling:
    """Greedy letters; with `ends` also the end of the turn."""
    allowed = {*LETTERS, END_OF_TURN} if ends else set(LETTERS)
    only = {id: -math.inf for id in range(320) if id not in allowed}
    return Sampling(**{"temperature": 0.0, "max_tokens": 12, "logit_bias": only} | changes)


def fresh(model: Decoder, tokenizer: Tokenizer, messages: tuple[Message, ...], sampling: Sampling) -> Completion:
    """The reply to a conversation that is rendered and read from its beginning."""
    engine = Engine(model, tokenizer, sequences=1)
    return engine.generate(Request(ids=tuple(render(messages, tokenizer).ids), sampling=sampling))


@pytest.mark.parametrize("system", [None, "be brief"])
def test_a_long_chat_is_what_its_rendered_messages_give(
    tiny: Tiny, family: str, tokenizer: Tokenizer, system: str | None
) -> None:
    chat = Chat(Engine(tiny(family), tokenizer, chunk=16), system=system, sampling=spelled())
    for text in ("the thing", "and then", "on and on"):
        expected = fresh(tiny(family), tokenizer, (*chat.messages, Message("user", text)), spelled())
        reply = chat.say(text)
        assert (reply.ids, reply.text) == (expected.ids, expected.text)
        closed = render(chat.messages, tokenizer, add_generation_prompt=False).ids
        assert closed[: chat.tokens] == list(chat.ids)


def test_a_closed_turn_and_a_cut_one_are_continued_alike(tiny: Tiny, tokenizer: Tokenizer) -> None:
    model = tiny("gemma-3-1b")
    soon = spelled(seed=1, temperature=4.0, top_k=0, top_p=1.0)
    chat = Chat(Engine(model, tokenizer), sampling=soon)
    reasons = set()
    for turn in range(6):
        text = "go " + "abc"[turn % 3]
        expected = fresh(model, tokenizer, (*chat.messages, Message("user", text)), soon)
        reply = chat.say(text)
        assert reply.ids == expected.ids
        reasons.add(reply.finish_reason)
    assert reasons == {"stop", "length"}


def test_a_turn_reads_only_what_is_new(tiny: Tiny, family: str, tokenizer: Tokenizer) -> None:
    chat = Chat(Engine(tiny(family), tokenizer), sampling=FREE)
    for text in ("the thing", "and then", "more"):
        before = chat.tokens
        reply = chat.say(text)
        assert reply.usage.cached == max(0, before - 1)  # the last drawn token was never run
        assert chat.tokens == reply.usage.prompt + reply.usage.completion


def test_pieces_joined_are_the_reply_for_both_ways_of_listening(tiny: Tiny, tokenizer: Tokenizer) -> None:
    heard: list[str] = []
    said = Chat(Engine(tiny("gemma-2b"), tokenizer), sampling=FREE)
    reply = said.say("the", on_text=heard.append)
    streamed = Chat(Engine(tiny("gemma-2b"), tokenizer), sampling=FREE)
    assert "".join(heard) == "".join(streamed.stream("the")) == reply.text
    assert streamed.messages == said.messages == (Message("user", "the"), Message("model", reply.text))


def test_a_foreign_stop_id_and_eos_do_not_stay_in_the_conversation(tiny: Tiny, tokenizer: Tokenizer) -> None:
    chat = Chat(Engine(tiny("gemma-2b"), tokenizer))
    first = fresh(tiny("gemma-2b"), tokenizer, (Message("user", "the"),), FREE)
    at = next(at for at in range(3, 12) if first.ids.index(first.ids[at]) == at)
    chat.sampling = Sampling(temperature=0, max_tokens=12, ignore_eos=True, stop_ids=(first.ids[at],))
    assert chat.say("the").ids == first.ids[: at + 1]
    assert chat.ids[-at:] == first.ids[:at]


def test_a_stop_string_leaves_only_what_was_shown(tiny: Tiny, tokenizer: Tokenizer) -> None:
    model = tiny("gemma-3-1b")
    lively = {"seed": 3, "temperature": 5.0, "top_k": 0, "top_p": 1.0, "ends": False}
    text = Chat(Engine(model, tokenizer), sampling=spelled(**lively)).say("the").text
    stop = text[6:9]
    chat = Chat(Engine(model, tokenizer), sampling=spelled(**lively, stop=(stop,)))
    assert chat.say("the").text == text[: text.index(stop)]
    expected = fresh(model, tokenizer, (*chat.messages, Message("user", "and")), spelled(**lively))
    chat.sampling = spelled(**lively)
    assert chat.say("and").ids == expected.ids


@pytest.mark.parametrize("way", ["interrupt", "leave", "listener"])
def test_a_reply_stopped_half_way_stays_and_the_chat_goes_on(
    tiny: Tiny, family: str, tokenizer: Tokenizer, way: str
) -> None:
    model = tiny(family)
    chat = Chat(Engine(model, tokenizer), sampling=spelled(ends=False))
    chat.say("the thing")
    if way == "leave":
        pieces = chat.stream("and then")
        heard = [next(pieces) for _ in range(4)]
        pieces.close()  # type: ignore[attr-defined]
    else:
        heard = []
        calls = [0]

        def stop(*_: Any) -> None:
            calls[0] += 1
            if calls[0] == 5:
                raise KeyboardInterrupt

        def listen(piece: str) -> None:
            heard.append(piece)
            if way == "listener" and len(heard) == 4:
                raise KeyboardInterrupt

        hook = model.layers[1].register_forward_pre_hook(stop) if way == "interrupt" else None
        try:
            with pytest.raises(KeyboardInterrupt):
                chat.say("and then", on_text=listen)
        finally:
            if hook:
                hook.remove()
    assert chat.last is not None and chat.last.finish_reason == "cancelled"
    assert len(heard) == 4
    assert chat.messages[-1] == Message("model", "".join(heard))
    expected = fresh(model, tokenizer, (*chat.messages, Message("user", "on")), spelled())
    chat.sampling = spelled()
    assert chat.say("on").ids == expected.ids


def test_a_message_interrupted_before_any_reply_is_taken_back(tiny: Tiny, family: str, tokenizer: Tokenizer) -> None:
    model = tiny(family)
    chat = Chat(Engine(model, tokenizer, chunk=8), sampling=spelled())
    chat.say("the thing")
    before = (chat.messages, chat.ids)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    hook = model.layers[2].register_forward_pre_hook(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            chat.say("and then a rather long message")
    finally:
        hook.remove()
    assert (chat.messages, chat.ids) == before
    expected = fresh(model, tokenizer, (*chat.messages, Message("user", "on")), spelled())
    assert chat.say("on").ids == expected.ids


def test_a_full_context_is_said_with_its_numbers_and_changes_nothing(tiny: Tiny, tokenizer: Tokenizer) -> None:
    chat = Chat(Engine(tiny("gemma-2-2b"), tokenizer, context=64), sampling=FREE)
    chat.say("the")
    before = (chat.messages, chat.ids, chat.cache_bytes)
    with pytest.raises(UserError) as caught:
        chat.say("and then " * 20)
    assert "holds 64" in caught.value.message and "/clear" in caught.value.hint
    assert (chat.messages, chat.ids, chat.cache_bytes) == before
    chat.clear()
    assert (chat.messages, chat.tokens, chat.cache_bytes) == ((), 0, 0)
    assert chat.say("the").usage.cached == 0


def test_two_chats_on_one_engine_do_not_meet(tiny: Tiny, tokenizer: Tokenizer) -> None:
    model = tiny("recurrentgemma-2b")
    engine = Engine(model, tokenizer, sequences=2)
    pair = [Chat(engine, sampling=FREE) for _ in range(2)]
    texts = (("the", "on"), ("and", "in"))
    for turn in range(2):
        for chat, said in zip(pair, texts, strict=True):
            chat.say(said[turn])
    for chat, said in zip(pair, texts, strict=True):
        single = Chat(Engine(model, tokenizer), sampling=FREE)
        for text in said:
            single.say(text)
        assert single.ids == chat.ids


def test_cache_bytes_and_speeds_are_told(tiny: Tiny, tokenizer: Tokenizer) -> None:
    chat = Chat(Engine(tiny("gemma-3-1b"), tokenizer), sampling=FREE)
    assert (chat.cache_bytes, chat.speed) == (0, (0.0, 0.0))
    chat.say("the thing")
    assert chat.cache_bytes > 0 and min(chat.speed) > 0


def test_a_checkpoints_own_layout_gives_the_same_chat_as_the_built_in_one(tiny: Tiny, tokenizer: Tokenizer) -> None:
    model = tiny("gemma-2b")
    template = ChatTemplate(BUILT_IN, {"bos_token": "<bos>", "eos_token": "<eos>"})
    plain = Chat(Engine(model, tokenizer), system="be brief", sampling=spelled())
    own = Chat(Engine(model, tokenizer), system="be brief", sampling=spelled(), template=template)
    for text in ("the thing", "and then"):
        assert own.say(text).ids == plain.say(text).ids
    assert own.last is not None and own.last.usage.cached > 10


def test_a_model_without_a_tokenizer_cannot_chat(tiny: Tiny) -> None:
    with pytest.raises(UserError, match="no tokenizer"):
        Chat(Engine(tiny("gemma-2b")))


def test_clearing_can_change_the_system_text(tiny: Tiny, tokenizer: Tokenizer) -> None:
    chat = Chat(Engine(tiny("gemma-2b"), tokenizer), system="be brief", sampling=FREE)
    chat.clear()
    assert chat.messages == (Message("system", "be brief"),)
    chat.clear(system="")
    assert chat.messages == ()
    assert chat.say("the").ids == fresh(tiny("gemma-2b"), tokenizer, (Message("user", "the"),), FREE).ids


def test_a_restored_conversation_goes_on_as_the_one_it_was_taken_from(
    tiny: Tiny, family: str, tokenizer: Tokenizer
) -> None:
    model = tiny(family)
    first = Chat(Engine(model, tokenizer), system="be brief", sampling=spelled())
    first.say("the thing")
    second = Chat(Engine(model, tokenizer), sampling=spelled())
    second.say("another")
    second.restore(first.transcript())
    assert (second.messages, second.ids, second.system) == (first.messages, first.ids, "be brief")
    assert second.last is None and second.cache_bytes == 0
    assert second.say("and then").ids == first.say("and then").ids
    assert second.transcript() == first.transcript()


def test_a_conversation_without_a_turn_is_restored_with_its_system_text(tiny: Tiny, tokenizer: Tokenizer) -> None:
    chat = Chat(Engine(tiny("gemma-2b"), tokenizer), sampling=FREE)
    chat.restore(Transcript(system="be brief", messages=(), ids=(), closed=False))
    assert chat.messages == (Message("system", "be brief"),)


@pytest.mark.parametrize(("ids", "said"), [((2, 320), "320"), ((2,) * 64, "64")])
def test_what_cannot_be_restored_leaves_the_conversation_as_it_was(
    tiny: Tiny, tokenizer: Tokenizer, ids: tuple[int, ...], said: str
) -> None:
    chat = Chat(Engine(tiny("gemma-2b"), tokenizer, context=64), system="be", sampling=FREE)
    chat.say("the")
    before = (chat.transcript(), chat.cache_bytes)
    with pytest.raises(UserError, match=said):
        chat.restore(dataclasses.replace(chat.transcript(), system="other", ids=ids))
    assert (chat.transcript(), chat.cache_bytes) == before
