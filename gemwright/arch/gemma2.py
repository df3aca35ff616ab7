"""Gemma 2: local and global layers in turn (the first is local), sandwich norms, two soft caps (Gemma 2 report)."""

from __future__ import annotations

from typing import Any

from gemwright.arch.spec import Attention, Layer, Mlp, Model, Rope

FAMILY = "gemma2"


def gemma2(
    *,
    name: str,
    width: int,
    depth: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    hidden: int,
    vocab: int,
    context: int,
    window: int,
    pattern: int,
    query_scalar: float,
    attention_cap: float | None,
    final_cap: float | None,
    rope_base: float,
    norm_epsilon: float,
) -> Model:
    """A Gemma 2 of any size; every `pattern`-th layer is global."""

    def layer(index: int) -> Layer:
        attention = Attention(
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            window=None if (index + 1) % pattern == 0 else window,
            rope=Rope(base=rope_base, factor=1.0, channels=head_dim),
            query_scalar=query_scalar,
            cap=attention_cap,
            qk_norm=False,
            out_bias=False,
        )
        return Layer(mixer=attention, mlp=Mlp(hidden=hidden, bias=False), post_norms=True)

    return Model(
        name=name,
        family=FAMILY,
        width=width,
        vocab=vocab,
        context=context,
        layers=tuple(layer(index) for index in range(depth)),
        norm_epsilon=norm_epsilon,
        embed_scale=width**0.5,
        embed_rounding="activation",
        final_cap=final_cap,
        vision=None,
    )


_SHARED = {
    "vocab": 256_000,
    "context": 8192,
    "window": 4096,
    "pattern": 2,
    "attention_cap": 50.0,
    "final_cap": 30.0,
    "rope_base": 10_000.0,
    "norm_epsilon": 1e-6,
}

# The 27B divides its scores by width / heads = 144, not by its head_dim of 128.
SIZES: dict[str, dict[str, Any]] = {
    "gemma-2-2b": {"width": 2304, "depth": 26, "heads": 8, "kv_heads": 4, "head_dim": 256, "hidden": 9216}
    | {"query_scalar": 256.0}
    | _SHARED,
    "gemma-2-9b": {"width": 3584, "depth": 42, "heads": 16, "kv_heads": 8, "head_dim": 256, "hidden": 14_336}
    | {"query_scalar": 256.0}
    | _SHARED,
    "gemma-2-27b": {"width": 4608, "depth": 46, "heads": 32, "kv_heads": 16, "head_dim": 128, "hidden": 36_864}
    | {"query_scalar": 144.0}
    | _SHARED,
}
