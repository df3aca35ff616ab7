"""Soft targets: the loss and the gradient that it leaves, against autograd of the formula."""

import pytest
import torch
from torch import Tensor

from gemwright.ops import soft_targets
from gemwright.ops.soft_targets import soft_targets_


def problem(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores that pass a cap of 5, ids among which some stand twice in a row, shares that sum to anything, weights."""
    scores, ids = (8 * torch.randn(6, 11)).to(dtype), torch.randint(0, 4, (6, 5))
    shares, weight = torch.rand(6, 5), torch.tensor([1.0, 0.5, 0.0, 2.0, 1.0, 0.25])
    return scores, ids, shares, weight


def direct(
    scores: Tensor, ids: Tensor, shares: Tensor, cap: float | None, temperature: float, z: float
) -> tuple[Tensor, Tensor]:
    """The formula as it is written."""
    logits = (scores if cap is None else cap * torch.tanh(scores / cap)) / temperature
    minus = -logits.log_softmax(1).gather(1, ids)
    lse = torch.logsumexp(logits, 1)
    return temperature**2 * ((shares * minus).sum(1) + z * lse**2), lse


@pytest.mark.parametrize("cap", [None, 5.0])
@pytest.mark.parametrize(("temperature", "z"), [(1.0, 0.0), (1.0, 0.1), (2.5, 0.0), (0.5, 0.01)])
def test_loss_and_gradient_are_those_of_the_formula(cap: float | None, temperature: float, z: float) -> None:
    scores, ids, shares, weight = problem()
    wanted = scores.clone().requires_grad_()
    losses, lse = direct(wanted, ids, shares.double(), cap, temperature, z)
    (slope,) = torch.autograd.grad((weight * losses).sum(), wanted)
    ours = soft_targets_(scores, ids, shares, weight, cap=cap, temperature=temperature, z=z)
    torch.testing.assert_close(ours, (losses.detach(), lse.detach()))
    torch.testing.assert_close(scores, slope)


def test_a_few_rows_at_a_time_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, ids, shares, weight = problem(torch.float32)
    parts = whole.clone()
    together = soft_targets_(whole, ids, shares, weight, cap=5.0)
    monkeypatch.setattr(soft_targets, "_BLOCK_BYTES", 2 * 4 * 11)
    apart = soft_targets_(parts, ids, shares, weight, cap=5.0)
    assert torch.equal(whole, parts) and all(map(torch.equal, together, apart))


def test_scores_in_bfloat16_have_their_gradient_rounded_once() -> None:
    scores, ids, shares, weight = problem(torch.bfloat16)
    wide = scores.float()
    losses = soft_targets_(scores, ids, shares, weight)[0]
    wanted = soft_targets_(wide, ids, shares, weight)[0]
    assert losses.dtype == torch.float32 and torch.equal(losses, wanted)
    assert torch.equal(scores, wide.bfloat16())


def test_without_a_gradient_the_scores_stay() -> None:
    scores, ids, shares, weight = problem()
    before = scores.clone()
    soft_targets_(scores, ids, shares, weight, gradient=False)
    assert torch.equal(scores, before)
