"""Addends of low rank."""

from __future__ import annotations

import math

import pytest
import torch

from gemwright.ops.low_rank import Adapter, LowRank


def pair(rslora: bool = False, rank: int = 3) -> LowRank:
    return LowRank(a=torch.randn(rank, 7), b=torch.randn(11, rank), alpha=6.0, rslora=rslora)


@pytest.mark.parametrize(("rslora", "scale"), [(False, 2.0), (True, 6 / math.sqrt(3))])
def test_alpha_is_divided_by_the_rank_or_its_root(rslora: bool, scale: float) -> None:
    one = pair(rslora)
    assert one.scale == pytest.approx(scale, rel=1e-15)
    exact = scale * one.b.double() @ one.a.double()
    assert torch.allclose(one.added(torch.zeros(11, 7, dtype=torch.float64)), exact)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_sum_is_float32_and_leaves_the_weight_alone(dtype: torch.dtype) -> None:
    one, weight = pair(), torch.randn(11, 7).to(dtype)
    before = weight.clone()
    added = one.added(weight)
    assert added.dtype == torch.float32 and torch.equal(weight, before)
    assert torch.allclose(added.double(), weight.double() + 2 * one.b.double() @ one.a.double(), atol=1e-5)


def test_rows_of_the_sum_are_the_sum_of_rows() -> None:
    one, weight = pair(), torch.randn(11, 7)
    assert torch.allclose(one.added(weight[4:9], 4), one.added(weight)[4:9], atol=1e-6)


@pytest.mark.parametrize("rslora", [False, True])
def test_the_norm_is_the_product_s(rslora: bool) -> None:
    one = pair(rslora)
    assert one.norm() == pytest.approx(float((one.scale * one.b.double() @ one.a.double()).norm()), rel=1e-12)


@pytest.mark.parametrize(("value", "norm"), [(0.0, 0.0), (math.nan, math.nan), (math.inf, math.nan)])
def test_the_norm_tells_zeros_and_what_is_not_finite(value: float, norm: float) -> None:
    one = LowRank(a=torch.randn(3, 7), b=torch.full((11, 3), value), alpha=6.0, rslora=False)
    assert one.norm() == pytest.approx(norm, nan_ok=True) or not math.isfinite(one.norm())


def test_an_adapter_is_idle_when_every_product_is_0() -> None:
    zero = LowRank(a=torch.randn(3, 7), b=torch.zeros(11, 3), alpha=6.0, rslora=False)
    assert Adapter(modules={"x": zero}, dropout=0.0, base=None).is_idle
    assert not Adapter(modules={"x": zero, "y": pair()}, dropout=0.0, base=None).is_idle
