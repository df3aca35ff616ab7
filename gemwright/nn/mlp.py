"""The gated MLP."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from gemwright.arch.spec import Mlp
from gemwright.nn.linear import Linear, gated_by


class GatedMlp(nn.Module):
    """`down(gelu_tanh(gate(x)) * up(x))`."""

    def __init__(self, width: int, spec: Mlp) -> None:
        super().__init__()
        self.gate = Linear(width, spec.hidden, bias=spec.bias)
        self.up = Linear(width, spec.hidden, bias=spec.bias)
        self.down = Linear(spec.hidden, width, bias=spec.bias)

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """`[N, D]` → `[N, D]`."""
        return self.down(gated_by(self.gate, x, self.up(x)))
