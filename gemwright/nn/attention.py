"""Grouped-query attention, local or global."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from gemwright.arch.spec import Attention, Rope
from gemwright.cache.allocate import Step
from gemwright.nn.linear import Linear
from gemwright.nn.norm import RMSNorm
from gemwright.ops.addends import Addends, with_addends
from gemwright.ops.attend import attend_documents
from gemwright.ops.rope import Angles, turn
from gemwright.ops.span import Span


class AttentionMixer(nn.Module):
    """Projections, QK-norm where the spec asks for it, RoPE, attention."""

    def __init__(self, width: int, spec: Attention, epsilon: float) -> None:
        super().__init__()
        self.spec = spec
        self.query = Linear(width, spec.heads * spec.head_dim, bias=False)
        self.key = Linear(width, spec.kv_heads * spec.head_dim, bias=False)
        self.value = Linear(width, spec.kv_heads * spec.head_dim, bias=False)
        self.out = Linear(spec.heads * spec.head_dim, width, bias=spec.out_bias)
        if spec.qk_norm:
            self.query_norm = RMSNorm(spec.head_dim, epsilon)
            self.key_norm = RMSNorm(spec.head_dim, epsilon)

    def forward(
        self,
        x: Float[Tensor, "N D"],
        span: Span,
        angles: dict[Rope, Angles],
        memory: Step | None,
        layer: int,
        addends: Addends | None = None,
    ) -> Float[Tensor, "N D"]:
        """`[N, D]` → `[N, D]`; `layer` is this layer's number, by which the memory knows it;
        `addends`: those of its block."""
        spec = self.spec
        query = with_addends(self.query, x, addends, "mixer.query").unflatten(-1, (spec.heads, spec.head_dim))
        key = with_addends(self.key, x, addends, "mixer.key").unflatten(-1, (spec.kv_heads, spec.head_dim))
        value = with_addends(self.value, x, addends, "mixer.value").unflatten(-1, (spec.kv_heads, spec.head_dim))
        norms = (self.query_norm, self.key_norm) if spec.qk_norm else (None, None)
        query, key = (
            turn(x, norm.weight if norm else None, norm.epsilon if norm else 0.0, angles[spec.rope])
            for x, norm in zip((query, key), norms, strict=True)
        )
        if memory is None:
            mixed = attend_documents(query, key, value, span, window=spec.window, scale=spec.scale, cap=spec.cap)
        else:
            mixed = memory.attend(layer, query, key, value, spec)
        return with_addends(self.out, mixed.flatten(1).to(x.dtype), addends, "mixer.out")
