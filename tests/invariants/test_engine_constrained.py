"""Grammars through the engine: neither neighbours, chunks, interruptions nor forced ids may show in an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemas
import small
import torch
from equivalence import LOGPROBS, equivalence
from schedules import plain, tokenizer

import gemwright
from gemwright.engine.engine import Engine
from gemwright.engine.grammar import Grammar
from gemwright.engine.request import Completion, Request, Sampling
from gemwright.text.turns import stop_ids

pytest.importorskip("llguidance")
MOST = 300


def engine(name: str, **settings: Any) -> Engine:
    defaults = Sampling(stop_ids=stop_ids(tokenizer(), None), top_k=0, top_p=1.0)
    return Engine(plain(name), tokenizer(), context=MOST + 60, defaults=defaults, **settings)


def asked(seed: int, **changes: Any) -> Request:
    """Some ids and a random schema."""
    ids = (tokenizer().bos, *(small.text(seed, 3 + 7 * (seed % 4)) + 300).tolist())
    chosen = {"grammar": Grammar.schema(schemas.schema(seed)), "seed": seed, "max_tokens": MOST} | changes
    return Request(ids=ids, sampling=Sampling(**chosen))


def check(found: Completion, seed: int) -> None:
    assert found.finish_reason == "stop"
    assert schemas.follows(json.loads(found.text), schemas.schema(seed), schemas.schema(seed)), found.text


@pytest.mark.feature("batching", "structured output")
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("answers under grammars together with free ones, in chunks = each alone", "text")
def test_together(name: str) -> None:
    """Drawn ids: a difference of a rounding error would have to stand at a border of the drawing."""
    requests = [asked(seed) for seed in range(3)] + [asked(3, grammar=None, max_tokens=25), asked(4, temperature=0)]
    together = engine(name, sequences=3, chunk=8).run(requests)
    alone = [engine(name, sequences=1).generate(request) for request in requests]
    assert [one.ids for one in together] == [one.ids for one in alone]
    for seed in (0, 1, 2, 4):
        check(together[seed], seed)


@pytest.mark.feature("structured output")
@pytest.mark.parametrize("name", small.NAMES)
@pytest.mark.parametrize("at", [0, 1, 3])
@equivalence("an answer under a grammar interrupted and gone on with = undisturbed", "text")
def test_interrupted(name: str, at: int) -> None:
    """Also in a step that reads forced ids: what was never committed is read again, what was drawn stays."""
    running, steps = engine(name, sequences=1, chunk=8), 0

    def stop(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == at + 1:
            raise KeyboardInterrupt

    hook = plain(name).layers[-1].register_forward_pre_hook(stop)
    try:
        key = running.submit(asked(2))
        with pytest.raises(KeyboardInterrupt):
            list(running.events(key))
        found = [event.completion for event in running.events(key)][-1]
    finally:
        hook.remove()
    assert found is not None and found.ids == engine(name, sequences=1).generate(asked(2)).ids
    check(found, 2)


def check_pocket(seeds: range) -> None:
    """The embedded model, which was trained, by eights; hot, so that it ends the digits of a number at some time."""
    lm, hot = gemwright.load("pocket"), {"temperature": 2.0, "top_k": 0, "top_p": 1.0, "max_tokens": 1500}
    for begin in range(seeds.start, seeds.stop, 8):
        some = range(begin, min(begin + 8, seeds.stop))
        ids = lm.engine.encode("An answer in JSON: ")
        wishes = [Sampling(grammar=Grammar.schema(schemas.schema(seed)), seed=seed, **hot) for seed in some]
        found = lm.engine.run([Request(ids=ids, sampling=one) for one in wishes])
        for seed, one in zip(some, found, strict=True):
            check(one, seed)


@equivalence("answers of the embedded model under schemas = ones that parse and follow them", "bit")
def test_pocket() -> None:
    check_pocket(range(8))


@pytest.mark.soak
@equivalence("a thousand answers of the embedded model under schemas = ones that parse and follow them", "bit")
def test_a_thousand_of_pocket() -> None:
    check_pocket(range(1000))


@pytest.mark.parametrize("name", small.NAMES)
@equivalence("log-probabilities under a grammar = those of the model without one", "round")
def test_log_probabilities(name: str) -> None:
    """With them no id is taken unasked, and each has the model's own probability."""
    request = asked(1, logprobs=0)
    found = engine(name, sequences=1, chunk=8).generate(request)
    check(found, 1)
    assert found.logprobs is not None and [one.id for one in found.logprobs] == list(found.ids)
    ids = torch.tensor(request.ids + found.ids)
    logits = small.logits(plain(name), ids)[len(request.ids) - 1 : -1]
    expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(found.ids)[:, None])[:, 0]
    drawn = torch.tensor([one.logprob for one in found.logprobs])
    assert (drawn - expected).abs().max() <= LOGPROBS * logits.std()
