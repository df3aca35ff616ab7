"""The gated MLP."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from gemwright.arch.spec import Mlp
from gemwright.nn.linear import Linear, gated_by
from gemwright.ops.addends import Addends, with_addends


class GatedMlp(nn.Module):
    """`down(gelu_tanh(gate(x)) * up(x))`."""

    def __init__(self, width: int, spec: Mlp) -> None:
        super().__init__()
        self.gate = Linear(width, spec.hidden, bias=spec.bias)
        self.up = Linear(width, spec.hidden, bias=spec.bias)
        self.down = Linear(spec.hidden, width, bias=spec.bias)

    def forward(self, x: Float[Tensor, "N D"], addends: Addends | None = None) -> Float[Tensor, "N D"]:
        """`[N, D]` → `[N, D]`; `addends`: those of the block."""
        up = with_addends(self.up, x, addends, "mlp.up")
        return with_addends(self.down, gated_by(self.gate, x, up, addends, "mlp.gate"), addends, "mlp.down")
