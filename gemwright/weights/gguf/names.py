"""Tensor names in GGUF files ↔ names in the model, one table per family, read in both directions.

Rows of queries and keys stand as in Hugging Face's files: ggml's rotation of Gemma pairs channel i with i + half.
"""

from __future__ import annotations

from gemwright.weights.names import Names

TABLE = "token_embd.weight"
_OUTSIDE = ((TABLE, "embed.weight"), ("output_norm.weight", "final_norm.weight"))
_GEMMA1 = (
    ("attn_q.weight", "mixer.query.weight"),
    ("attn_k.weight", "mixer.key.weight"),
    ("attn_v.weight", "mixer.value.weight"),
    ("attn_output.weight", "mixer.out.weight"),
    ("ffn_gate.weight", "mlp.gate.weight"),
    ("ffn_up.weight", "mlp.up.weight"),
    ("ffn_down.weight", "mlp.down.weight"),
    ("attn_norm.weight", "mixer_norm.weight"),
    ("ffn_norm.weight", "mlp_norm.weight"),
)
_GEMMA2 = (
    *_GEMMA1,
    ("post_attention_norm.weight", "mixer_post_norm.weight"),
    ("post_ffw_norm.weight", "mlp_post_norm.weight"),
)
_GEMMA3 = (
    *_GEMMA2,
    ("attn_q_norm.weight", "mixer.query_norm.weight"),
    ("attn_k_norm.weight", "mixer.key_norm.weight"),
)
_INSIDE = {"gemma1": _GEMMA1, "gemma2": _GEMMA2, "gemma3": _GEMMA3}

# family → the word for it in `general.architecture`
ARCHITECTURES = {"gemma1": "gemma", "gemma2": "gemma2", "gemma3": "gemma3"}


def is_norm(name: str) -> bool:
    """Whether a file's tensor is the weight of an RMSNorm, which the format stores with 1 added."""
    return name.endswith("norm.weight")


class BlockNames(Names):
    """A table whose layers are called `blk.0`, `blk.1`, … in the file."""

    def ours(self, name: str) -> str | None:
        """A file's name → the model's, None when the table does not hold it."""
        if name.startswith("blk."):
            return super().ours("layers." + name.removeprefix("blk."))
        return None if name.startswith("layers.") else super().ours(name)

    def theirs(self, name: str) -> str:
        """The model's name → the file's; `KeyError` when the table does not hold it."""
        found = super().theirs(name)
        return "blk." + found.removeprefix("layers.") if found.startswith("layers.") else found


def names_of(family: str) -> BlockNames:
    """The names of a family in GGUF files; `KeyError` if it has none."""
    return BlockNames(prefix="", outside=_OUTSIDE, inside=_INSIDE[family])


# ---------------------------------------------------------------------------------------------------------------------
# Files of a vision half ("mmproj"), whose layers are called `v.blk.0`, … and stand in the tower below `encoder.`

CLIP = "clip"  # the word for them in `general.architecture`
_PARTS = ("weight", "bias")
_EYES_OUTSIDE = (
    *((f"v.patch_embd.{part}", f"encoder.patches.{part}") for part in _PARTS),
    ("v.position_embd.weight", "encoder.positions"),
    *((f"v.post_ln.{part}", f"encoder.final_norm.{part}") for part in _PARTS),
    ("mm.soft_emb_norm.weight", "projector.norm.weight"),
    ("mm.input_projection.weight", "projector.weight"),
)
_EYES_INSIDE = (
    ("ln1", "mixer_norm"),
    ("attn_q", "mixer.query"),
    ("attn_k", "mixer.key"),
    ("attn_v", "mixer.value"),
    ("attn_out", "mixer.out"),
    ("ln2", "mlp_norm"),
)


class EyesNames(Names):
    """The table of a vision half."""

    def ours(self, name: str) -> str | None:
        """A file's name → the tower's, None when the table does not hold it."""
        if not name.startswith("v.blk."):
            return None if name.startswith("layers.") else super().ours(name)
        found = super().ours("layers." + name.removeprefix("v.blk."))
        return None if found is None else "encoder." + found

    def theirs(self, name: str) -> str:
        """The tower's name → the file's; `KeyError` when the table does not hold it."""
        found = super().theirs(name.removeprefix("encoder.") if name.startswith("encoder.layers.") else name)
        return "v.blk." + found.removeprefix("layers.") if found.startswith("layers.") else found


def eyes_names(crossed: bool) -> EyesNames:
    """The names of a vision half. `crossed`: `ffn_up` and `ffn_down` have each other's place, as llama.cpp's first
    converters wrote them; its reader takes a file for crossed if the rows of `ffn_down` are as long as the tower is
    wide."""
    words = ("ffn_down", "ffn_up") if crossed else ("ffn_up", "ffn_down")
    pairs = (*_EYES_INSIDE, *zip(words, ("mlp.up", "mlp.down"), strict=True))
    inside = tuple((f"{theirs}.{part}", f"{ours}.{part}") for theirs, ours in pairs for part in _PARTS)
    return EyesNames(prefix="", outside=_EYES_OUTSIDE, inside=inside)
