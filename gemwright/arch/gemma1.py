"""Gemma 1: pre-norm blocks, every layer global, RoPE 10,000 (Gemma report, table 1, which prints both MLP branches)."""

from __future__ import annotations

from typing import Any

from gemwright.arch.spec import Attention, Layer, Mlp, Model, Rope

FAMILY = "gemma1"


def gemma1(
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
    rope_base: float,
    norm_epsilon: float,
) -> Model:
    """A Gemma 1 of any size."""
    attention = Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        window=None,
        rope=Rope(base=rope_base, factor=1.0, channels=head_dim),
        query_scalar=float(head_dim),
        cap=None,
        qk_norm=False,
        out_bias=False,
    )
    return Model(
        name=name,
        family=FAMILY,
        width=width,
        vocab=vocab,
        context=context,
        layers=(Layer(mixer=attention, mlp=Mlp(hidden=hidden, bias=False), post_norms=False),) * depth,
        norm_epsilon=norm_epsilon,
        embed_scale=width**0.5,
        embed_rounding="activation",
        final_cap=None,
        vision=None,
    )


_SHARED = {"head_dim": 256, "vocab": 256_000, "context": 8192, "rope_base": 10_000.0, "norm_epsilon": 1e-6}

SIZES: dict[str, dict[str, Any]] = {
    "gemma-2b": {"width": 2048, "depth": 18, "heads": 8, "kv_heads": 1, "hidden": 16_384} | _SHARED,
    "gemma-7b": {"width": 3072, "depth": 28, "heads": 16, "kv_heads": 16, "hidden": 24_576} | _SHARED,
}
