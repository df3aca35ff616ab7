"""Tensor names of files ↔ names in the model: one table per family and file format, read in both directions.

These tables only rename. Gemma 1's `post_attention_layernorm` stands before the MLP on the residual stream; in Gemma 2
and 3 the same word is the norm of the attention's output.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LAYER = re.compile(r"layers\.(0|[1-9][0-9]{0,5})\.(.+)")

_OUTSIDE = (("embed_tokens.weight", "embed.weight"), ("norm.weight", "final_norm.weight"))
_ATTENTION = (
    ("self_attn.q_proj.weight", "mixer.query.weight"),
    ("self_attn.k_proj.weight", "mixer.key.weight"),
    ("self_attn.v_proj.weight", "mixer.value.weight"),
    ("self_attn.o_proj.weight", "mixer.out.weight"),
)
_MLP = tuple((f"mlp.{branch}_proj.weight", f"mlp.{branch}.weight") for branch in ("gate", "up", "down"))
_GEMMA1 = (
    *_ATTENTION,
    *_MLP,
    ("input_layernorm.weight", "mixer_norm.weight"),
    ("post_attention_layernorm.weight", "mlp_norm.weight"),
)
_GEMMA2 = (
    *_ATTENTION,
    *_MLP,
    ("input_layernorm.weight", "mixer_norm.weight"),
    ("post_attention_layernorm.weight", "mixer_post_norm.weight"),
    ("pre_feedforward_layernorm.weight", "mlp_norm.weight"),
    ("post_feedforward_layernorm.weight", "mlp_post_norm.weight"),
)
_GEMMA3 = (
    *_GEMMA2,
    ("self_attn.q_norm.weight", "mixer.query_norm.weight"),
    ("self_attn.k_norm.weight", "mixer.key_norm.weight"),
)
_RECURRENTGEMMA = (
    ("temporal_pre_norm.weight", "mixer_norm.weight"),
    ("channel_pre_norm.weight", "mlp_norm.weight"),
    *((f"temporal_block.{side}.{part}", f"mixer.{side}.{part}")
      for side in ("linear_x", "linear_y", "linear_out") for part in ("weight", "bias")),
    *((f"mlp_block.{branch}_proj.{part}", f"mlp.{branch}.{part}")
      for branch in ("gate", "up", "down") for part in ("weight", "bias")),
    ("temporal_block.conv_1d.weight", "mixer.conv.weight"),
    ("temporal_block.conv_1d.bias", "mixer.conv.bias"),
    ("temporal_block.rg_lru.recurrent_param", "mixer.rg_lru.a_param"),
    ("temporal_block.rg_lru.input_gate_weight", "mixer.rg_lru.input_gate.weight"),
    ("temporal_block.rg_lru.input_gate_bias", "mixer.rg_lru.input_gate.bias"),
    ("temporal_block.rg_lru.recurrent_gate_weight", "mixer.rg_lru.a_gate.weight"),
    ("temporal_block.rg_lru.recurrent_gate_bias", "mixer.rg_lru.a_gate.bias"),
    ("temporal_block.q_proj.weight", "mixer.query.weight"),
    ("temporal_block.k_proj.weight", "mixer.key.weight"),
    ("temporal_block.v_proj.weight", "mixer.value.weight"),
    ("temporal_block.o_proj.weight", "mixer.out.weight"),
    ("temporal_block.o_proj.bias", "mixer.out.bias"),
)  # fmt: skip
_GEMMA3_PYTORCH = (
    *_GEMMA2,
    ("self_attn.query_norm.weight", "mixer.query_norm.weight"),
    ("self_attn.key_norm.weight", "mixer.key_norm.weight"),
)

_Pairs = tuple[tuple[str, str], ...]

# family → (names outside the layers, names inside a layer); file's name first, ours second
HUGGING_FACE: dict[str, tuple[_Pairs, _Pairs]] = {
    "gemma1": (_OUTSIDE, _GEMMA1),
    "gemma2": (_OUTSIDE, _GEMMA2),
    "gemma3": (_OUTSIDE, _GEMMA3),
    "recurrentgemma": (
        (("embed_tokens.weight", "embed.weight"), ("final_norm.weight", "final_norm.weight")),
        _RECURRENTGEMMA,
    ),
}
GEMMA_PYTORCH: dict[str, tuple[_Pairs, _Pairs]] = {
    "gemma1": (_OUTSIDE, _GEMMA1),
    "gemma2": (_OUTSIDE, _GEMMA2),
    "gemma3": (_OUTSIDE, _GEMMA3_PYTORCH),
}

# What has stood before a text model's names: causal models; the multimodal model as first released; the same as
# transformers keeps it in memory and saves it; a bare model; a bare multimodal model.
PREFIXES = ("model.", "language_model.model.", "model.language_model.", "", "language_model.")
HEADS = (
    "lm_head.weight",
    "language_model.lm_head.weight",
    "model.lm_head.weight",
    "model.language_model.lm_head.weight",
    "output.weight",  # GGUF
)
VISION = (
    *("vision_tower.", "model.vision_tower.", "multi_modal_projector.", "model.multi_modal_projector."),
    *("siglip_vision_model.", "mm_soft_embedding_norm.", "mm_input_projection."),  # gemma_pytorch
    *("v.", "mm."),  # GGUF files of ollama
)
_EMBEDDING = "embed_tokens.weight"
_ROTARY = re.compile(r"(^|\.)(rotary_emb(_local)?\.(inv_freq|cos_cached|sin_cached)|(local_|global_)?freqs_cis)$")


def is_vision(name: str) -> bool:
    """Whether the name belongs to the vision half of a multimodal file."""
    return name.startswith(VISION)


def is_rotary(name: str) -> bool:
    """Whether the name is a table of angles that some programs save; it is computed here."""
    return bool(_ROTARY.search(name))


def find_prefix(names: list[str]) -> str | None:
    """What stands before the text model's names in a file, told by its embedding table; None when there is none."""
    for prefix in PREFIXES:
        if prefix + _EMBEDDING in names:
            return prefix
    return None


@dataclass(frozen=True, kw_only=True)
class Names:
    """The table of one family behind one prefix."""

    prefix: str
    outside: tuple[tuple[str, str], ...]
    inside: tuple[tuple[str, str], ...]

    def ours(self, name: str) -> str | None:
        """A file's name → the model's, None when the table does not hold it."""
        return self._rename(name.removeprefix(self.prefix), 0, 1) if name.startswith(self.prefix) else None

    def theirs(self, name: str) -> str:
        """The model's name → the file's; `KeyError` when the table does not hold it."""
        found = self._rename(name, 1, 0)
        if found is None:
            raise KeyError(name)
        return self.prefix + found

    def _rename(self, name: str, source: int, target: int) -> str | None:
        if match := _LAYER.fullmatch(name):
            for pair in self.inside:
                if pair[source] == match[2]:
                    return f"layers.{match[1]}.{pair[target]}"
        for pair in self.outside:
            if pair[source] == name:
                return pair[target]
        return None


def table(family: str, prefix: str, formats: dict[str, tuple[_Pairs, _Pairs]] = HUGGING_FACE) -> Names:
    """The names of a family in Hugging Face files, or in another format's table; `KeyError` if it has none."""
    outside, inside = formats[family]
    return Names(prefix=prefix, outside=outside, inside=inside)
