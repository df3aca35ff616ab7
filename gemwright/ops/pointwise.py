"""What happens to each token on its own: RMSNorm, soft cap, GeGLU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """`x` in the dtype of the float32 islands: float32, or float64 where the caller already works in it."""
    return x if x.dtype == torch.float64 else x.float()


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """`x / sqrt(mean(x²) + epsilon) * (1 + weight)` over the last dimension.

    Checkpoints store the weight centred on 0. All of it is done in float32 and cast once, at the end: casting before
    the product, or adding 1 in bfloat16, loses bits of the weight. x `[..., D]`, weight `[D]` → `[..., D]`, dtype of x.
    """
    return F.rms_norm(wide(x), weight.shape, 1 + wide(weight), epsilon).to(x.dtype)


def soft_cap(x: Tensor, cap: float | None) -> Tensor:
    """`cap * tanh(x / cap)`; `x` itself where there is no cap."""
    return x if cap is None else torch.tanh(x / cap) * cap


def geglu(gate: Tensor, up: Tensor) -> Tensor:
    """`gelu(gate) * up` with the tanh form of gelu, which every Gemma was trained with. Both `[..., F]`."""
    return F.gelu(gate, approximate="tanh") * up
