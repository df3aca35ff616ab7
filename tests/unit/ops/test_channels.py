"""Integers per output channel."""

from __future__ import annotations

import pytest
import torch

from gemwright.ops.channels import INT4, INT8, dequantize_channels, quantize_channels

LEVELS = pytest.mark.parametrize("levels", [INT4, INT8])


@LEVELS
def test_codes_fill_the_levels_and_miss_by_half_a_step_at_most(levels: int) -> None:
    weight = torch.randn(12, 50) * torch.logspace(-4, 4, 12)[:, None]
    codes, multiplier = quantize_channels(weight, levels)
    assert codes.abs().amax(dim=1).tolist() == [levels] * 12
    error = (dequantize_channels(codes, multiplier) - weight).abs()
    assert bool((error <= 0.5001 * multiplier[:, None]).all())


@LEVELS
def test_halves_go_to_the_even_code(levels: int) -> None:
    codes, multiplier = quantize_channels(torch.tensor([[float(levels), 0.5, 1.5, -0.5, -2.5]]), levels)
    assert codes.tolist() == [[levels, 0, 2, 0, -2]] and multiplier.tolist() == [1.0]


def test_a_row_of_zeros_stays_zeros() -> None:
    codes, multiplier = quantize_channels(torch.tensor([[0.0, -0.0], [1.0, 2.0]]), INT4)
    assert dequantize_channels(codes, multiplier)[0].tolist() == [0.0, 0.0] and multiplier[0] == 0


def test_levels_that_no_byte_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="128"):
        quantize_channels(torch.zeros(1, 1), 128)
