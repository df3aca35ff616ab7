"""Rotary position embeddings, in the split-half layout: channel i is paired with channel i + channels / 2."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemwright.arch.spec import Rope
from gemwright.ops.native import gradients
from gemwright.ops.pointwise import rms_norm, wide

Angles = tuple[Float[Tensor, "N P"], Float[Tensor, "N P"]]


def inverse_frequencies(rope: Rope, device: torch.device | str = "cpu") -> Float[Tensor, " P"]:
    """`base ** (-2 i / channels) / factor` for each pair i: float32 `[channels / 2]`."""
    exponent = torch.arange(0, rope.channels, 2, dtype=torch.float32, device=device) / rope.channels
    return 1.0 / (rope.base**exponent) / rope.factor


def rope_angles(position: Int[Tensor, " N"], rope: Rope) -> Angles:
    """Cosines and sines of every position: two float32 `[N, channels / 2]`.

    Positions are whole numbers multiplied in float32: in bfloat16 they would be wrong from 257 on.
    """
    angle = position.to(torch.float32)[:, None] * inverse_frequencies(rope, position.device)
    return angle.cos(), angle.sin()


def rotate(x: Float[Tensor, "N H K"], angles: Angles) -> Float[Tensor, "N H K"]:
    """Turn the leading channels of each head by its token's angles; the others pass.

    x `[N, H, K]` → `[N, H, K]` in x's dtype; the products are float32.
    """
    cos, sin = angles
    half = cos.shape[-1]
    cos, sin = cos[:, None, :], sin[:, None, :]
    first, second = wide(x[..., :half]), wide(x[..., half : 2 * half])
    parts = [(first * cos - second * sin).to(x.dtype), (second * cos + first * sin).to(x.dtype)]
    if 2 * half < x.shape[-1]:
        parts.append(x[..., 2 * half :])
    return torch.cat(parts, dim=-1)


def turn(
    x: Float[Tensor, "N H K"], weight: Float[Tensor, " K"] | None, epsilon: float, angles: Angles
) -> Float[Tensor, "N H K"]:
    """QK-norm, where there is a weight `[K]`, then `rotate`. x `[N, H, K]` → `[N, H, K]` in x's dtype."""
    if gradients.usable(x, channels=x.shape[-1]):
        return gradients.turn(x, weight, epsilon, *angles)
    return rotate(x if weight is None else rms_norm(x, weight, epsilon), angles)
