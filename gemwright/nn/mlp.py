"""The gated MLP."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemwright.arch.spec import Mlp
from gemwright.nn.linear import Linear
from gemwright.ops.pointwise import gated


class GatedMlp(nn.Module):
    """`down(gelu_tanh(gate(x)) * up(x))`."""

    def __init__(self, width: int, spec: Mlp) -> None:
        super().__init__()
        self.gate = Linear(width, spec.hidden, bias=spec.bias)
        self.up = Linear(width, spec.hidden, bias=spec.bias)
        self.down = Linear(spec.hidden, width, bias=spec.bias)

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """`[N, D]` → `[N, D]`."""
        if torch.is_grad_enabled():
            return self.down(gated(self.gate(x), self.up(x)))
        return self.down(self.gate.gelu(x) * self.up(x))
