"""RMSNorm, soft cap."""

import math

import pytest
import torch

from gemwright.ops.pointwise import rms_norm, soft_cap


def test_rms_norm_of_a_known_vector() -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])
    expected = x * (7.5 + 1e-6) ** -0.5
    assert torch.allclose(rms_norm(x, torch.zeros(4), 1e-6), expected, rtol=1e-6)
    assert torch.allclose(rms_norm(x, torch.full((4,), 0.5), 1e-6), 1.5 * expected, rtol=1e-6)


def test_rms_norm_rounds_once_in_bfloat16() -> None:
    x, weight = (torch.randn(50, 64) * 3).bfloat16(), torch.randn(64).bfloat16()
    exact = rms_norm(x.double(), weight.double(), 1e-6)
    assert torch.equal(rms_norm(x, weight, 1e-6), exact.float().bfloat16())


def test_soft_cap_bounds_and_leaves_small_scores() -> None:
    x = torch.tensor([-1000.0, -1.0, 0.0, 1.0, 1000.0])
    capped = soft_cap(x, 50.0)
    assert capped.abs().max() <= 50.0
    assert capped[3].item() == pytest.approx(50 * math.tanh(1 / 50), rel=1e-6)
    assert soft_cap(x, None) is x
