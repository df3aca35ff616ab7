"""Speculation: whatever was guessed, an answer is that of plain decoding, which draws one token in a step."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import schemas
import small
import torch
from equivalence import equivalence
from schedules import packed, tokenizer
from small import needs_kernels
from torch import Tensor

from gemwright.engine import speculate
from gemwright.engine.draft import Draft
from gemwright.engine.engine import Engine
from gemwright.engine.grammar import Grammar
from gemwright.engine.lookup import Lookup
from gemwright.engine.progress import Progress, Session
from gemwright.engine.proposer import Facts, Proposal, Proposer
from gemwright.engine.request import Completion, Request, Sampling
from gemwright.nn.decoder import Decoder

pytest.importorskip("llguidance")

SEEDS = 1  # schedules for each model, of this many requests; in a soak a hundred times as many
REQUESTS = 10
CONTEXT = 160
WRONG = (0.0, 0.2, 1.0)  # shares of false guesses


class Oracle:
    """Knows the true answers, and tells falsehoods among them."""

    free, seconds = True, 0.0

    def __init__(self, draw: random.Random, wrong: float) -> None:
        self.truth: dict[int, tuple[int, ...]] = {}
        self._draw, self._wrong = draw, wrong

    def cache_bytes(self, tokens: int | None, sequences: int) -> int:
        return 0

    def begin(self, facts: Facts) -> None:
        self._vocab = facts.vocab

    def propose(self, wanted: Sequence[tuple[Progress, int]]) -> list[Proposal]:
        return [Proposal(ids=self._ids(progress, count)) for progress, count in wanted]

    def _ids(self, progress: Progress, count: int) -> tuple[int, ...]:
        true = self.truth[progress.key][progress.drawn :][: self._draw.randint(0, count)]
        lie = self._draw.randrange
        return tuple(lie(self._vocab) if self._draw.random() < self._wrong else id for id in true)

    def forget(self, key: int) -> None:
        self.truth.pop(key, None)


def engine(model: Decoder, guesses: Proposer | None = None, **settings: Any) -> Engine:
    chosen = {"context": CONTEXT, "chunk": 16, "defaults": Sampling(), "speculate": guesses} | settings
    return Engine(model, tokenizer(), **chosen)


def alone(model: Decoder, request: Request) -> Completion:
    return engine(model, sequences=1).generate(request)


def drawn(draw: random.Random, seed: int, known: list[Request]) -> Request:
    """A prompt, sometimes one that begins like another; greedy or sampled, free or held to something."""
    ids = [tokenizer().bos]
    if known and draw.random() < 0.5:
        ids = list(draw.choice(known).ids[: draw.randint(1, 60)])
    ids += draw.choices(range(300, 400), k=draw.choice([2, 7, 30]))
    how: dict[str, Any] = draw.choice(
        [
            {"temperature": 0.0},
            {"temperature": 1.0, "top_k": 0, "top_p": 0.9},
            {"temperature": 0.0, "repetition_penalty": 1.4},
            {"temperature": 1.0, "logit_bias": {321: 9.0, 322: 8.0}, "stop_ids": (322,)},
            {"temperature": 1.0, "stop": ("e", "on")},
            {"grammar": Grammar.schema(schemas.schema(seed)), "stop_ids": (tokenizer().eos,)},
        ]
    )
    how |= {"seed": seed, "max_tokens": draw.randint(1, 40), "logprobs": draw.choice([None, None, 2])}
    return Request(ids=tuple(ids), sampling=Sampling(**how))


def same(found: Completion, expected: Completion) -> bool:
    """All but the times and the counts of guesses; of a cancelled answer, as far as it got."""
    if found.finish_reason == "cancelled":
        return found.ids == expected.ids[: len(found.ids)]
    names = ("ids", "text", "logprobs", "finish_reason", "seed")
    return all(getattr(found, name) == getattr(expected, name) for name in names)


class Life:
    """A random schedule: arrivals, cancellations, sessions, reuse, and steps that are interrupted."""

    def __init__(self, model: Decoder, seed: int, wrong: float) -> None:
        self.draw, self.model = random.Random(seed), model
        self.oracle = Oracle(self.draw, wrong)
        self.engine = engine(model, self.oracle, sequences=3, reuse=3)
        self.expected: dict[int, Completion] = {}
        self.asked: list[Request] = []
        self.done: dict[int, Completion] = {}
        self.session = Session()
        self.quiet = False

    def run(self, requests: int) -> None:
        hook = self.model.layers[-1].register_forward_pre_hook(self._interrupt)
        try:
            while requests or self.engine.busy:
                if requests and self.draw.random() < 0.4:
                    requests -= 1
                    self._submit()
                self._step()
        finally:
            hook.remove()

    def _step(self) -> None:
        try:
            events = self.engine.step()
        except KeyboardInterrupt:
            return
        if self.engine._live and self.draw.random() < 0.02:
            last = self.engine.cancel(self.draw.choice(list(self.engine._live)))
            events += [last] if last else []
        self.done |= {event.request: event.completion for event in events if event.completion is not None}

    def _interrupt(self, *_: object) -> None:
        if not self.quiet and self.draw.random() < 0.03:
            raise KeyboardInterrupt

    def _submit(self) -> None:
        request = drawn(self.draw, len(self.asked), self.asked)
        self.quiet = True
        expected = alone(self.model, request)
        self.quiet = False
        session = self.session if not self.session.busy and self.draw.random() < 0.3 else None
        key = self.engine.submit(request, session)
        self.asked.append(request)
        self.expected[key], self.oracle.truth[key] = expected, expected.ids

    def check(self) -> tuple[int, int]:
        """The texts, and that nothing stays in the memory; how many ids were guessed, and how many truly."""
        assert len(self.done) == len(self.asked)
        for key, found in self.done.items():
            assert same(found, self.expected[key])
        self.engine.release(self.session)
        self.engine.forget()
        assert not any(any(store._shares.owners) for store in self.engine.cache.stores)  # type: ignore[attr-defined]
        usages = [found.usage for found in self.done.values()]
        return sum(one.proposed for one in usages), sum(one.accepted for one in usages)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """All guesses are run, whatever they are worth."""
    monkeypatch.setattr(speculate, "worth", lambda offers, **_: [length for length, _ in offers])


def check_schedules(name: str, wrong: float, seeds: range) -> None:
    for seed in seeds:
        life = Life(packed(name), seed, wrong)
        life.run(REQUESTS)
        proposed, accepted = life.check()
        assert proposed > 0
        assert accepted == proposed if wrong == 0 else accepted < proposed


@pytest.mark.feature("speculation")
@needs_kernels
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("answers with guesses run ahead, true and false = plain decoding, native", "bit")
def test_schedules(name: str, wrong: float) -> None:
    """Greedy, sampled, under penalties, grammars and stop strings, with log-probabilities, reuse and interruptions."""
    check_schedules(name, wrong, range(SEEDS))


@needs_kernels
@pytest.mark.soak
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("hundreds of schedules with guesses run ahead = plain decoding, native", "bit")
def test_many_schedules(name: str, wrong: float) -> None:
    check_schedules(name, wrong, range(1, 1 + SEEDS * 100))


@pytest.mark.feature("speculation")
@needs_kernels
@pytest.mark.parametrize("make", [Lookup, lambda: Draft(packed("recurrent"))], ids=["lookup", "draft"])
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("answers guessed by lookup or by another model, as their worth is judged = plain decoding, native", "bit")
def test_proposers(name: str, make: Callable[[], Proposer]) -> None:
    """Together, three at a time; the draft is of another family."""
    draw = random.Random(5)
    requests: list[Request] = []
    for seed in range(5):
        requests.append(drawn(draw, seed, requests))
    found = engine(packed(name), make(), sequences=3).run(requests)
    assert all(same(one, alone(packed(name), request)) for one, request in zip(found, requests, strict=True))


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("answers with guesses run ahead = plain decoding", "text")
def test_plain_route(name: str) -> None:
    """In float32, greedy: a difference would need two best that no rounding error tells apart."""
    model = small.model(name)
    requests = [
        Request(ids=tuple(small.text(seed, 5 + 9 * seed).tolist()), sampling=Sampling(temperature=0, max_tokens=30))
        for seed in range(3)
    ]
    settings: dict[str, Any] = {"context": CONTEXT, "chunk": 16, "defaults": Sampling()}
    expected = Engine(model, sequences=1, **settings).run(requests)
    oracle = Oracle(random.Random(1), 0.2)
    oracle.truth = {key: one.ids for key, one in enumerate(expected)}
    found = Engine(model, sequences=2, speculate=oracle, **settings).run(requests)
    assert [one.ids for one in found] == [one.ids for one in expected]
    assert sum(one.usage.accepted for one in found) > 20


@pytest.mark.feature("speculation")
@needs_kernels
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("a draft that is the model itself = the model: all that it guesses comes true", "bit")
def test_draft_of_itself(name: str) -> None:
    """Also what is sampled, penalised or forced by a grammar: it draws by the same numbers."""
    held = Grammar.schema(schemas.schema(1))
    kinds: list[dict[str, Any]] = [{"temperature": 0.0}, {"repetition_penalty": 1.2}, {"grammar": held}]
    requests = [
        Request(ids=(tokenizer().bos, *range(300, 320 + at)), sampling=Sampling(seed=at, max_tokens=30, **kind))
        for at, kind in enumerate(kinds)
    ]
    found = engine(packed(name), Draft(packed(name)), sequences=3).run(requests)
    for one, request in zip(found, requests, strict=True):
        assert same(one, alone(packed(name), request))
        assert one.usage.accepted == one.usage.proposed
    assert sum(one.usage.accepted for one in found) > 30


@needs_kernels
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("a row run with guesses = the same row run by itself, native", "bit")
def test_rows(name: str) -> None:
    """The logits after an id do not depend on those that are run after it; and these leave nothing when taken back."""
    model, ids = packed(name), (tokenizer().bos, *range(300, 340))
    assert speculate.bit_equal(model)
    cache = engine(model, sequences=2).cache

    def run(handle: Any, part: Sequence[int]) -> Tensor:
        step = cache.prepare([handle], [len(part)])
        with torch.inference_mode():
            logits = model(torch.tensor(part), step.span, memory=step, use=lambda hidden, head: head.logits(hidden))
        step.commit()
        return logits

    single, ahead = cache.open(), cache.open()
    for at, id in enumerate(ids):
        found = run(ahead, (id, *range(350 + at, 350 + at + cache.slack)))
        cache.rollback(ahead, cache.slack)
        assert torch.equal(found[0], run(single, (id,))[0])
