"""RMSNorm with a weight centred on 0."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemwright.ops.pointwise import add_norm, rms_norm


class RMSNorm(nn.Module):
    """`x / rms(x) * (1 + weight)`, in float32, over the last dimension of size `width`."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        """`[..., width]` → the same shape and dtype."""
        return rms_norm(x, self.weight, self.epsilon)

    def add(self, residual: Float[Tensor, "N D"], x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """`residual + self(x)`."""
        return add_norm(residual, x, self.weight, self.epsilon)
