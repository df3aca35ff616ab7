"""Gemma 3: five local layers to one global, QK-norm, two RoPE bases, images from 4B up (Gemma 3 report, section 2).

Only global layers stretch positions, by 8, and only where the context is 128K (4B, 12B, 27B).
"""

from __future__ import annotations

from typing import Any

from gemwright.arch.spec import Attention, Layer, Mlp, Model, Rope, Tower, Vision

FAMILY = "gemma3"

# SigLIP So400m/14 at 896 pixels: 64 × 64 patches, pooled 4 × 4 into 256 soft tokens.
SIGLIP = Vision(
    tower=Tower(image=896, patch=14, width=1152, hidden=4304, heads=16, depth=27, norm_epsilon=1e-6), tokens=256
)


def gemma3(
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
    local_base: float,
    global_base: float,
    global_factor: float,
    attention_cap: float | None,
    final_cap: float | None,
    norm_epsilon: float,
    vision: Vision | None,
) -> Model:
    """A Gemma 3 of any size; every `pattern`-th layer is global, trailing layers are local."""

    def layer(index: int) -> Layer:
        is_global = (index + 1) % pattern == 0
        attention = Attention(
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            window=None if is_global else window,
            rope=Rope(
                base=global_base if is_global else local_base,
                factor=global_factor if is_global else 1.0,
                channels=head_dim,
            ),
            query_scalar=query_scalar,
            cap=attention_cap,
            qk_norm=True,
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
        vision=vision,
    )


_SHARED = {
    "head_dim": 256,
    "vocab": 262_144,
    "pattern": 6,
    "query_scalar": 256.0,
    "local_base": 10_000.0,
    "global_base": 1_000_000.0,
    "attention_cap": None,
    "final_cap": None,
    "norm_epsilon": 1e-6,
}
_SMALL = _SHARED | {"window": 512, "context": 32_768, "global_factor": 1.0, "vision": None}
_LARGE = _SHARED | {"window": 1024, "context": 131_072, "global_factor": 8.0, "vision": SIGLIP}

# The 27B divides its scores by width / heads = 168, not by its head_dim of 128.
SIZES: dict[str, dict[str, Any]] = {
    "gemma-3-270m": _SMALL | {"width": 640, "depth": 18, "heads": 4, "kv_heads": 1, "hidden": 2048},
    "gemma-3-1b": _SMALL | {"width": 1152, "depth": 26, "heads": 4, "kv_heads": 1, "hidden": 6912},
    "gemma-3-4b": _LARGE | {"width": 2560, "depth": 34, "heads": 8, "kv_heads": 4, "hidden": 10_240},
    "gemma-3-12b": _LARGE | {"width": 3840, "depth": 48, "heads": 16, "kv_heads": 8, "hidden": 15_360},
    "gemma-3-27b": _LARGE
    | {"width": 5376, "depth": 62, "heads": 32, "kv_heads": 16, "hidden": 21_504}
    | {"head_dim": 128, "query_scalar": 168.0},
}
