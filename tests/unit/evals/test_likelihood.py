"""Ragged likelihoods are those of each text alone."""

from __future__ import annotations

import pytest
import torch

from gemwright.engine.request import Sampling
from gemwright.evals import likelihood as module
from gemwright.evals.likelihood import likelihoods
from gemwright.lm import LM

PAIRS = [([2, *range(300, 300 + size)], list(range(400, 400 + 1 + size % 5))) for size in (1, 3, 5, 8, 17, 24, 31)]


def alone(lm: LM, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    logits = lm.logits([*context, *continuation])[len(context) - 1 : -1].double()
    wanted = torch.tensor(continuation)
    return float(logits.log_softmax(1).gather(1, wanted[:, None]).sum()), bool((logits.argmax(1) == wanted).all())


@pytest.mark.parametrize(("tokens", "chunk"), [(1, 1 << 25), (40, 1), (1 << 20, 1 << 25)])
def test_a_likelihood_depends_on_no_neighbour(lm: LM, tokens: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", chunk)
    found = likelihoods(lm.model, PAIRS, tokens=tokens)
    for one, pair in zip(found, PAIRS, strict=True):
        assert (one.logprob, one.greedy) == (pytest.approx(alone(lm, *pair)[0], abs=1e-4), alone(lm, *pair)[1])


def test_what_the_model_would_write_is_greedy(lm: LM) -> None:
    prompt = [2, 300, 301, 302]
    written = list(lm.generate(prompt, Sampling(temperature=0, max_tokens=6)).ids)
    other = [*written[:-1], (written[-1] + 1) % 600]
    assert [one.greedy for one in likelihoods(lm.model, [(prompt, written), (prompt, other)])] == [True, False]


def test_progress_ends_with_all_pairs(lm: LM) -> None:
    told: list[int] = []
    likelihoods(lm.model, PAIRS, told.append, tokens=30)
    assert told == sorted(told) and told[-1] == 7 and len(told) > 2


def test_an_empty_side_is_refused(lm: LM) -> None:
    for pair in (([], [1]), ([1], [])):
        with pytest.raises(ValueError, match="context and a continuation"):
            likelihoods(lm.model, [pair])
