"""The gated MLP."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from gemwright.arch.spec import Mlp
from gemwright.ops.pointwise import geglu


class GatedMlp(nn.Module):
    """`down(gelu_tanh(gate(x)) * up(x))`."""

    def __init__(self, width: int, spec: Mlp) -> None:
        super().__init__()
        self.gate = nn.Linear(width, spec.hidden, bias=spec.bias)
        self.up = nn.Linear(width, spec.hidden, bias=spec.bias)
        self.down = nn.Linear(spec.hidden, width, bias=spec.bias)

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """`[N, D]` → `[N, D]`."""
        return self.down(geglu(self.gate(x), self.up(x)))
