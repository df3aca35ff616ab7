"""RecurrentGemma and Griffin: two recurrent blocks to one block of local attention (RecurrentGemma report, table 1)."""

from __future__ import annotations

from typing import Any, Literal

from gemwright.arch.spec import Attention, Layer, Mlp, Model, Recurrent, Rope

FAMILY = "recurrentgemma"


def recurrentgemma(
    *,
    name: str,
    width: int,
    depth: int,
    recurrent_width: int,
    conv: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    hidden: int,
    vocab: int,
    context: int | None,
    window: int,
    window_edge: Literal["inside", "beyond"],
    rope_base: float,
    rope_share: float,
    blocks: tuple[Literal["recurrent", "attention"], ...],
    gate_blocks: int,
    embed_scale: bool,
    final_cap: float | None,
    norm_epsilon: float,
) -> Model:
    """A Griffin of any size: `blocks` is repeated and cut at `depth`.

    `window_edge` settles a disagreement between two published codes: "inside", a token sees `window` keys, itself
    included, as in transformers; "beyond", it sees `window` earlier keys and itself, as in DeepMind's code. Raises
    `ValueError` for any other word.
    """
    if window_edge not in ("inside", "beyond"):
        raise ValueError(f'window_edge is {window_edge!r}, it is "inside" or "beyond"')
    attention = Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        window=window if window_edge == "inside" else window + 1,
        rope=Rope(base=rope_base, factor=1.0, channels=int(head_dim * rope_share)),
        query_scalar=float(head_dim),
        cap=None,
        qk_norm=False,
        out_bias=True,
    )
    mixers = {"attention": attention, "recurrent": Recurrent(width=recurrent_width, blocks=gate_blocks, conv=conv)}
    return Model(
        name=name,
        family=FAMILY,
        width=width,
        vocab=vocab,
        context=context,
        layers=tuple(
            Layer(mixer=mixers[blocks[index % len(blocks)]], mlp=Mlp(hidden=hidden, bias=True), post_norms=False)
            for index in range(depth)
        ),
        norm_epsilon=norm_epsilon,
        embed_scale=width**0.5 if embed_scale else 1.0,
        embed_rounding="bfloat16",
        final_cap=final_cap,
        vision=None,
    )


_SHARED = {
    "conv": 4,
    "kv_heads": 1,
    "context": None,
    "window_edge": "inside",
    "rope_base": 10_000.0,
    "rope_share": 0.5,
    "blocks": ("recurrent", "recurrent", "attention"),
    "norm_epsilon": 1e-6,
}
_RELEASED = _SHARED | {"head_dim": 256, "vocab": 256_000, "window": 2048, "embed_scale": True, "final_cap": 30.0}
_PAPER = _SHARED | {"head_dim": 128, "vocab": 256_000, "window": 1024, "embed_scale": False, "final_cap": None}


def _griffin(width: int, recurrent_width: int, depth: int, heads: int) -> dict[str, Any]:
    """A row of the Griffin paper's scaling study: MLP factor 3, gates in 16 blocks."""
    sizes = {"width": width, "recurrent_width": recurrent_width, "depth": depth, "heads": heads}
    return _PAPER | sizes | {"hidden": 3 * width, "gate_blocks": 16}


SIZES: dict[str, dict[str, Any]] = {
    "recurrentgemma-2b": _RELEASED
    | {"width": 2560, "recurrent_width": 2560, "depth": 26, "heads": 10, "gate_blocks": 10, "hidden": 7680},
    "recurrentgemma-9b": _RELEASED
    | {"width": 4096, "recurrent_width": 4096, "depth": 38, "heads": 16, "gate_blocks": 16, "hidden": 12_288},
    "griffin-100m": _griffin(768, 1024, 12, 6),
    "griffin-200m": _griffin(1024, 1536, 12, 8),
    "griffin-400m": _griffin(1536, 2048, 12, 12),
    "griffin-1.3b": _griffin(2048, 2560, 24, 16),
    "griffin-3b": _griffin(3072, 4096, 24, 24),
    "griffin-7b": _griffin(4096, 5632, 32, 32),
    "griffin-14b": _griffin(5120, 8192, 40, 40),
}
