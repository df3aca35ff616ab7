"""The average of the weights is what its formula says, and changes nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gemwright.train.ema import Average


def _walk(model: nn.Linear, average: Average, steps: int) -> list[torch.Tensor]:
    """Random weights, one after the other, each taken in."""
    seen = []
    for step in range(1, steps + 1):
        with torch.no_grad():
            model.weight.normal_()
        average.update(step)
        seen.append(model.weight.detach().double().clone())
    return seen


def test_it_is_the_normalised_sum_of_the_weights_after_each_step() -> None:
    model = nn.Linear(3, 2, bias=False)
    average = Average(model, 0.8)
    seen = _walk(model, average, 7)
    shares = torch.tensor([0.8 ** (7 - step) for step in range(1, 8)], dtype=torch.float64)
    expected = sum(share * weight for share, weight in zip(shares / shares.sum(), seen, strict=True))
    assert isinstance(expected, torch.Tensor)
    assert torch.allclose(average.tensors["weight"].double(), expected, atol=1e-6)


def test_weights_before_the_first_step_have_no_part_in_it() -> None:
    model = nn.Linear(3, 2, bias=False)
    average = Average(model, 0.999)
    (only,) = _walk(model, average, 1)
    assert torch.equal(average.tensors["weight"].double(), only)


def test_the_model_has_it_inside_the_context_alone() -> None:
    model = nn.Linear(3, 2, bias=False)
    average = Average(model, 0.5)
    last = _walk(model, average, 4)[-1]
    with average.in_place():
        assert torch.equal(model.weight, average.tensors["weight"])
    assert torch.equal(model.weight.double(), last)
    average.hand_over()
    assert torch.equal(model.weight, average.tensors["weight"])


def test_frozen_weights_are_not_averaged() -> None:
    model = nn.Linear(3, 2)
    model.weight.requires_grad_(False)
    assert Average(model, 0.5).tensors.keys() == {"bias"}


def test_an_average_of_other_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="other weights"):
        Average(nn.Linear(3, 2), 0.5).restore({"weight": torch.zeros(2, 3)})
