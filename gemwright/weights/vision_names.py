"""Names of the vision half in Hugging Face files ↔ names in the tower: one table, read in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gemwright.weights.names import Names

_PARTS = ("weight", "bias")
_BLOCK = "encoder."  # stands before the layers on both sides
_OUTSIDE = (
    *((f"embeddings.patch_embedding.{part}", f"encoder.patches.{part}") for part in _PARTS),
    ("embeddings.position_embedding.weight", "encoder.positions"),
    *((f"post_layernorm.{part}", f"encoder.final_norm.{part}") for part in _PARTS),
)
_INSIDE = tuple(
    (f"{theirs}.{part}", f"{ours}.{part}")
    for theirs, ours in (
        ("layer_norm1", "mixer_norm"),
        ("self_attn.q_proj", "mixer.query"),
        ("self_attn.k_proj", "mixer.key"),
        ("self_attn.v_proj", "mixer.value"),
        ("self_attn.out_proj", "mixer.out"),
        ("layer_norm2", "mlp_norm"),
        ("mlp.fc1", "mlp.up"),
        ("mlp.fc2", "mlp.down"),
    )
    for part in _PARTS
)
_PROJECTOR = (("mm_soft_emb_norm.weight", "projector.norm.weight"), ("mm_input_projection_weight", "projector.weight"))

# What has stood before the encoder's names: transformers 4.5x, the files as first released, transformers 5 in memory,
# and its files of a model made from scratch. A longer prefix stands before the one that it begins with or ends in.
ENCODERS = ("model.vision_tower.vision_model.", "vision_tower.vision_model.", "model.vision_tower.", "vision_tower.")
PROJECTORS = ("model.multi_modal_projector.", "multi_modal_projector.")
RELEASED = ("vision_tower.vision_model.", "multi_modal_projector.")  # beside text names behind `language_model.model.`

# Below an encoder's prefix: what some files hold and no Gemma uses.
COUNT = "embeddings.position_ids"
POOLING = "head."


@dataclass(frozen=True, kw_only=True)
class VisionNames(Names):
    """The table behind one prefix of the encoder (`prefix`) and one of the projector."""

    projector: str

    def ours(self, name: str) -> str | None:
        """A file's name → the tower's, None when the table does not hold it."""
        if name.startswith(self.projector):
            return dict(_PROJECTOR).get(name.removeprefix(self.projector))
        return super().ours(name)

    def theirs(self, name: str) -> str:
        """The tower's name → the file's; `KeyError` when the table does not hold it."""
        found = {ours: theirs for theirs, ours in _PROJECTOR}.get(name)
        return super().theirs(name) if found is None else self.projector + found

    def _rename(self, name: str, source: int, target: int) -> str | None:
        inner = name.removeprefix(_BLOCK)
        if not inner.startswith("layers."):
            return super()._rename(name, source, target)
        found = super()._rename(inner, source, target) if inner != name else None
        return None if found is None else _BLOCK + found


def vision_table(encoder: str, projector: str) -> VisionNames:
    """The names behind these two prefixes."""
    return VisionNames(prefix=encoder, outside=_OUTSIDE, inside=_INSIDE, projector=projector)


def find_vision(names: Sequence[str]) -> VisionNames | None:
    """The table of the prefixes that a file's names have; None where one of the two is not there."""
    found = [
        next((prefix for prefix in prefixes if any(name.startswith(prefix) for name in names)), None)
        for prefixes in (ENCODERS, PROJECTORS)
    ]
    encoder, projector = found
    return None if encoder is None or projector is None else vision_table(encoder, projector)
