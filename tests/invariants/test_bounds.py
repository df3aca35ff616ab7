"""The bounds of this folder, held to the noise between two honest references: float32 and float64."""

from __future__ import annotations

import pytest
import small
import torch
from equivalence import GRADIENTS, LOGITS, VALUES, equivalence, off

from gemwright.ops.attend import attend_eager


@pytest.mark.parametrize("name", small.NAMES)
@equivalence("the logits' bound is a few times the noise of float32", "round")
def test_logits_bound(name: str) -> None:
    exact = small.model(name, torch.float64)
    noise = max(
        off(small.logits(small.model(name), ids), small.logits(exact, ids))
        for ids in (small.text(seed, 60) for seed in range(3))
    )
    assert noise < LOGITS < 30 * noise


@pytest.mark.parametrize("cap", [None, 20.0])
@equivalence("the operations' bounds are a few times the noise of float32", "round")
def test_values_and_gradients_bounds(cap: float | None) -> None:
    noise, slope = 0.0, 0.0
    seen = torch.ones(50, 50).tril() > 0
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        inputs = [torch.randn(50, heads, 16, generator=generator) for heads in (4, 2, 2)]
        narrow, wide = (
            [tensor.to(dtype).requires_grad_() for tensor in inputs] for dtype in (torch.float32, torch.float64)
        )
        some, exact = (attend_eager(*one, seen, scale=0.7, cap=cap) for one in (narrow, wide))
        noise = max(noise, off(some.detach(), exact.detach()))
        direction = torch.randn(some.shape, generator=generator)
        gradients = zip(
            torch.autograd.grad(some, narrow, direction),
            torch.autograd.grad(exact, wide, direction.double()),
            strict=True,
        )
        slope = max(slope, *(off(one, other, least=1.0) for one, other in gradients))
    assert noise < VALUES < 30 * noise
    assert slope < GRADIENTS < 30 * slope
