"""Keys and values as signed bytes, with one scale for each token and key head: half the memory of bfloat16.

Global layers only: theirs is the memory that grows with the text. Local rings are small, and stay as they are.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float32, Int8
from torch import Tensor


def quantise(x: Float[Tensor, "N G K"]) -> tuple[Int8[Tensor, "N G K"], Float32[Tensor, "N G"]]:
    """Codes `round(x · 127 / max|x|)` and the step `max|x| / 127` of each token's head; zeros have the step 0."""
    full = x.float()
    most = full.abs().amax(dim=-1)
    # A quotient of tensors: torch turns 127 / most into a product with a rounded reciprocal.
    inverse = torch.where(most > 0, torch.full_like(most, 127.0) / most, 0.0)
    return (full * inverse[..., None]).round().to(torch.int8), most / 127.0


def dequantise(
    codes: Int8[Tensor, "S G K"], scales: Float32[Tensor, "S G"], dtype: torch.dtype
) -> Float[Tensor, "S G K"]:
    """The keys or values that are attended over."""
    return (codes * scales[..., None]).to(dtype)
