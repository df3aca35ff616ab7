"""What happens to each token on its own: RMSNorm, soft cap."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """`x` in the dtype of the float32 islands: float32, or float64 where the caller already works in it."""
    return x if x.dtype == torch.float64 else x.float()


def rms_norm(x: Float[Tensor, "*N D"], weight: Float[Tensor, " D"], epsilon: float) -> Float[Tensor, "*N D"]:
    """`x / sqrt(mean(x²) + epsilon) * (1 + weight)` over the last dimension.

    Checkpoints store the weight centred on 0. All of it is done in float32 and cast once, at the end: casting before
    the product, or adding 1 in bfloat16, loses bits of the weight. x `[..., D]`, weight `[D]` → `[..., D]`, dtype of x.
    """
    full, gain = wide(x), 1 + wide(weight)
    squares = torch.linalg.vector_norm(full, dim=-1, keepdim=True).square()
    factor = torch.rsqrt(squares / x.shape[-1] + epsilon)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return (full * factor * gain).to(x.dtype)
    # In place where `full` is a copy of ours: fresh memory for every step would cost more than the arithmetic.
    scaled = full * factor if full is x else full.mul_(factor)
    return scaled.mul_(gain).to(x.dtype)


def soft_cap(x: Float[Tensor, "*N"], cap: float | None) -> Float[Tensor, "*N"]:
    """`cap * tanh(x / cap)`; `x` itself where there is no cap."""
    return x if cap is None else torch.tanh(x / cap) * cap
