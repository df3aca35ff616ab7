"""One residual block."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor, nn

from gemwright.arch.spec import Attention, Layer, Rope
from gemwright.cache.allocate import Step
from gemwright.nn.attention import AttentionMixer
from gemwright.nn.mlp import GatedMlp
from gemwright.nn.norm import RMSNorm
from gemwright.nn.recurrent import RecurrentMixer
from gemwright.ops.addends import Addends
from gemwright.ops.rope import Angles
from gemwright.ops.span import Span


class Block(nn.Module):
    """`x + mixer(norm(x))`, then `x + mlp(norm(x))`; post norms act on a sublayer's output before it joins."""

    def __init__(self, width: int, spec: Layer, epsilon: float) -> None:
        super().__init__()
        self.spec = spec
        self.mixer_norm = RMSNorm(width, epsilon)
        if isinstance(spec.mixer, Attention):
            self.mixer: AttentionMixer | RecurrentMixer = AttentionMixer(width, spec.mixer, epsilon)
        else:
            self.mixer = RecurrentMixer(width, spec.mixer)
        self.mlp_norm = RMSNorm(width, epsilon)
        self.mlp = GatedMlp(width, spec.mlp)
        if spec.post_norms:
            self.mixer_post_norm = RMSNorm(width, epsilon)
            self.mlp_post_norm = RMSNorm(width, epsilon)

    def forward(
        self,
        x: Float[Tensor, "N D"],
        span: Span,
        angles: dict[Rope, Angles],
        memory: Step | None,
        layer: int,
        addends: Addends | None = None,
        rows: Int64[Tensor, " M"] | None = None,
    ) -> Float[Tensor, "M D"]:
        """`[N, D]` → `[N, D]`; `addends`: what adapters add to this block's products. `rows` int64 `[M]`: the ones
        that are wanted, `[M, D]`; the mixer still meets and remembers all."""
        mixed = self.mixer(self.mixer_norm(x), span, angles, memory, layer, addends)
        if rows is not None:
            x, mixed, addends = x[rows], mixed[rows], None if addends is None else addends.at(rows)
        x = self.mixer_post_norm.add(x, mixed) if self.spec.post_norms else x + mixed
        fed = self.mlp(self.mlp_norm(x), addends)
        return self.mlp_post_norm.add(x, fed) if self.spec.post_norms else x + fed
