"""Comparisons of two models beside a direct computation on whole logits."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gemwright.arch.presets import preset
from gemwright.evals import compare as module
from gemwright.evals.compare import compare, windows
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.ops.span import span

pytestmark = pytest.mark.usefixtures("one_thread")

Tiny = Callable[[str], Decoder]
TEXTS = [[2, 9, 30, 31, 80, 7], [2, 50, 51], [2, 100, 101, 102, 103, 104, 105, 106, 107]]


def other() -> Decoder:
    """A model of the tiny one's vocabulary and little else."""
    model = Decoder(preset("gemma-2b", width=32, depth=1, heads=1, hidden=32, head_dim=16, vocab=320))
    initialise(model, torch.Generator().manual_seed(9))
    with torch.no_grad():
        model.embed.weight.mul_(20)
    return model


def logits(model: Decoder, ids: list[int]) -> Tensor:
    with torch.no_grad():
        return model(torch.tensor(ids), span([len(ids)]), use=lambda hidden, head: head.logits(hidden)).double()


@pytest.fixture
def expected(tiny: Tiny) -> dict[str, float]:
    """Everything at once, in float64."""
    kl, ours, theirs, same = [], [], [], []
    for text in TEXTS:
        p, q = (logits(model, text)[:-1] for model in (tiny("gemma-3-1b"), other()))
        divergence = torch.distributions.kl_divergence(
            torch.distributions.Categorical(logits=p), torch.distributions.Categorical(logits=q)
        )
        kl += divergence.tolist()
        targets = torch.tensor(text[1:])
        ours += torch.nn.functional.cross_entropy(p, targets, reduction="none").tolist()
        theirs += torch.nn.functional.cross_entropy(q, targets, reduction="none").tolist()
        same += (p.argmax(1) == q.argmax(1)).double().tolist()
    return {
        "tokens": len(kl),
        "kl": sum(kl) / len(kl),
        "kl_99": float(torch.tensor(kl, dtype=torch.float64).quantile(0.99)),
        "original_perplexity": math.exp(sum(ours) / len(kl)),
        "perplexity": math.exp(sum(theirs) / len(kl)),
        "agreement": sum(same) / len(kl),
    }


@pytest.mark.parametrize("chunk", [1, 4 * 320 * 2, 1 << 24])
def test_a_comparison_is_that_of_whole_logits_however_few_rows_are_made_at_once(
    tiny: Tiny, expected: dict[str, float], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", chunk)
    found = compare(tiny("gemma-3-1b"), other(), TEXTS)
    assert expected["kl"] > 0.05 and expected["kl_99"] > 0
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-4), name


def test_a_model_beside_itself_differs_in_nothing(tiny: Tiny, family: str) -> None:
    found = compare(tiny(family), tiny(family), TEXTS)
    assert found.kl == 0 and found.kl_99 == 0 and found.agreement == 1
    assert found.perplexity == found.original_perplexity


def test_divergence_is_not_symmetric_and_the_original_comes_first(tiny: Tiny) -> None:
    there, back = (compare(*pair, TEXTS).kl for pair in ((tiny("gemma-3-1b"), other()), (other(), tiny("gemma-3-1b"))))
    assert abs(there - back) > 1e-3 * there


def test_progress_counts_predictions(tiny: Tiny) -> None:
    told: list[int] = []
    compare(tiny("gemma-2b"), tiny("gemma-2b"), TEXTS, told.append)
    assert told == [5, 7, 15]


def test_no_gradients_are_kept(tiny: Tiny) -> None:
    model = other()
    compare(tiny("gemma-3-1b"), model, TEXTS)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_what_cannot_be_compared_is_refused(tiny: Tiny) -> None:
    small = Decoder(preset("gemma-2b", width=32, depth=1, heads=1, hidden=32, head_dim=16, vocab=32))
    with pytest.raises(ValueError, match="320 and 32"):
        compare(tiny("gemma-2b"), small, TEXTS)
    with pytest.raises(ValueError, match="no text"):
        compare(tiny("gemma-2b"), tiny("gemma-2b"), [[2]])


def test_windows_hold_every_token_once_behind_a_bos_of_their_own() -> None:
    ids = list(range(10, 31))
    cut = windows(ids, 8, bos=2)
    assert [len(window) for window in cut] == [8, 8, 8]
    assert all(window[0] == 2 for window in cut)
    assert [id for window in cut for id in window[1:]] == ids
    assert windows([2, *ids], 8, bos=2) == cut
    assert windows(list(range(9)), 8, bos=None) == [list(range(8))]  # one token alone predicts nothing
    with pytest.raises(ValueError, match="windows of 2"):
        windows(ids, 2, bos=2)
