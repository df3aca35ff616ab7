"""What happens to each token on its own: RMSNorm, the gated gelu, soft cap."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gemwright.ops.native import gradients


def wide(x: Tensor) -> Tensor:
    """`x` in the dtype of the float32 islands: float32, or float64 where the caller already works in it."""
    return x if x.dtype == torch.float64 else x.float()


def rms_norm(x: Float[Tensor, "*N D"], weight: Float[Tensor, " D"], epsilon: float) -> Float[Tensor, "*N D"]:
    """`x / sqrt(mean(x²) + epsilon) * (1 + weight)` over the last dimension.

    Checkpoints store the weight centred on 0. All of it is done in float32 and cast once, at the end: casting before
    the product, or adding 1 in bfloat16, loses bits of the weight. x `[..., D]`, weight `[D]` → `[..., D]`, dtype of x
    (under autocast, where it is trained, that of the products that follow: they would cast it next).
    """
    if gradients.usable(x, channels=x.shape[-1]):
        return gradients.norm(x, weight, epsilon)
    full, gain = wide(x), 1 + wide(weight)
    squares = torch.linalg.vector_norm(full, dim=-1, keepdim=True).square()
    factor = torch.rsqrt(squares / x.shape[-1] + epsilon)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return (full * factor * gain).to(x.dtype)
    # In place where `full` is a copy of ours: fresh memory for every step would cost more than the arithmetic.
    scaled = full * factor if full is x else full.mul_(factor)
    return scaled.mul_(gain).to(x.dtype)


def add_norm(
    residual: Float[Tensor, "N D"], x: Float[Tensor, "N D"], weight: Float[Tensor, " D"], epsilon: float
) -> Float[Tensor, "N D"]:
    """`residual + rms_norm(x)`: a sublayer's output behind its post norm joins the residual stream."""
    if residual.dtype == torch.float32 and gradients.usable(x, channels=x.shape[-1]):
        return gradients.add_norm(residual, x, weight, epsilon)
    return residual + rms_norm(x, weight, epsilon)


def gated(gate: Float[Tensor, "N F"], up: Float[Tensor, "N F"]) -> Float[Tensor, "N F"]:
    """`gelu_tanh(gate) * up`."""
    if gate.dtype == up.dtype and gradients.usable(gate, up, channels=gate.shape[-1]):
        return gradients.gated(gate, up)
    return F.gelu(gate, approximate="tanh") * up


def soft_cap(x: Float[Tensor, "*N"], cap: float | None) -> Float[Tensor, "*N"]:
    """`cap * tanh(x / cap)`; `x` itself where there is no cap."""
    return x if cap is None else torch.tanh(x / cap) * cap
