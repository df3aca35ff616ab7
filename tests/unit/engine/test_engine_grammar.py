"""Grammars in requests: when they are refused, what they save, and how their answers end."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from gemwright.engine.chat import Chat
from gemwright.engine.engine import Engine
from gemwright.engine.grammar import Grammar
from gemwright.engine.request import Request, Sampling
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.text.tokenizer import Tokenizer

pytest.importorskip("llguidance")
pytestmark = pytest.mark.usefixtures("one_thread")

Tiny = Callable[[str], Decoder]
SCHEMA = {
    "type": "object",
    "properties": {"temperature": {"type": "integer", "minimum": 0, "maximum": 9}, "unit": {"const": "celsius"}},
    "required": ["temperature", "unit"],
    "additionalProperties": False,
}


def under(grammar: Grammar, **changes: object) -> Sampling:
    return Sampling(**({"grammar": grammar, "seed": 1, "max_tokens": 200} | changes))  # type: ignore[arg-type]


def test_a_grammar_needs_a_tokenizer(tiny: Tiny) -> None:
    with pytest.raises(UserError, match="grammar needs a tokenizer"):
        Engine(tiny("gemma-2b"), sequences=1).submit(Request(ids=(2, 9), sampling=under(Grammar.regex("a+"))))


def test_what_is_no_grammar_is_refused() -> None:
    with pytest.raises(UserError, match="the grammar is"):
        Sampling(grammar="a+")  # type: ignore[arg-type]


def test_a_wrong_grammar_leaves_the_engine_as_it_was(tiny: Tiny, tokenizer: Tokenizer) -> None:
    engine = Engine(tiny("gemma-2b"), tokenizer, sequences=1)
    with pytest.raises(UserError, match="grammar"):
        engine.submit(Request(ids=(2, 9), sampling=under(Grammar.lark("start: nothing"))))
    assert not engine.busy


def test_forced_ids_cost_no_step(tiny: Tiny, family: str, tokenizer: Tokenizer, monkeypatch) -> None:
    engine = Engine(tiny(family), tokenizer, sequences=1)
    steps: list[int] = []
    prepare = engine.cache.prepare
    monkeypatch.setattr(
        engine.cache, "prepare", lambda handles, counts, *rest: steps.append(*counts) or prepare(handles, counts)
    )
    found = engine.generate(Request(ids=(2, 9, 20), sampling=under(Grammar.schema(SCHEMA))))
    assert json.loads(found.text)["unit"] == "celsius" and found.finish_reason == "stop"
    assert len(steps) < len(found.ids) / 2
    assert max(steps[1:]) > 4  # and they are read together


def test_events_of_forced_ids_are_the_completion(tiny: Tiny, tokenizer: Tokenizer) -> None:
    engine = Engine(tiny("gemma-3-1b"), tokenizer, sequences=1)
    events = list(engine.stream(Request(ids=(2, 9, 20), sampling=under(Grammar.schema(SCHEMA)))))
    last = events[-1].completion
    assert last is not None and tuple(event.id for event in events) == last.ids
    assert "".join(event.text for event in events) == last.text == tokenizer.decode(last.ids)


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_a_limit_holds_among_forced_ids(tiny: Tiny, tokenizer: Tokenizer, most: int) -> None:
    engine = Engine(tiny("gemma-2b"), tokenizer, sequences=1)
    found = engine.generate(Request(ids=(2, 9), sampling=under(Grammar.schema(SCHEMA), max_tokens=most)))
    assert (len(found.ids), found.finish_reason) == (most, "length")


def test_an_answer_ends_where_nothing_can_follow(tiny: Tiny, tokenizer: Tokenizer) -> None:
    engine = Engine(tiny("gemma-2b"), tokenizer, sequences=1, defaults=Sampling())
    found = engine.generate(Request(ids=(2, 9), sampling=under(Grammar.regex("[ab]{3}"))))
    assert (len(found.text), found.finish_reason) == (3, "stop")


def test_one_that_allows_nothing_fails_alone(tiny: Tiny, tokenizer: Tokenizer) -> None:
    """No stop id, and only the empty answer: there is nothing to draw."""
    engine = Engine(tiny("gemma-2b"), tokenizer, sequences=2, defaults=Sampling(max_tokens=4))
    bad = engine.submit(Request(ids=(2, 9), sampling=under(Grammar.regex(""))))
    good = engine.submit(Request(ids=(2, 9)))
    with pytest.raises(UserError, match="no token to draw"):
        list(engine.events(bad))
    assert [event.completion for event in engine.events(good)][-1] is not None


def test_a_chat_keeps_the_ids_of_an_answer_that_its_grammar_ended(tiny: Tiny, tokenizer: Tokenizer) -> None:
    chat = Chat(Engine(tiny("gemma-2b"), tokenizer, sequences=1), sampling=under(Grammar.regex("[ab]{9}")))
    first = chat.say("the")
    assert chat.ids[-len(first.ids) :] == first.ids
    chat.say("and")
    assert chat.last is not None and chat.last.usage.cached >= chat.last.usage.prompt - 20
