"""RMSNorm, soft cap, GeGLU."""

import math

import pytest
import torch

from gemwright.ops.pointwise import geglu, rms_norm, soft_cap


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


def test_geglu_uses_the_tanh_form() -> None:
    gate, up = torch.randn(100) * 2, torch.randn(100)
    inner = math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)
    assert torch.allclose(geglu(gate, up), 0.5 * gate * (1 + torch.tanh(inner)) * up, atol=1e-6)
