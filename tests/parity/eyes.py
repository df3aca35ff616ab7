"""Awake vision towers of transformers, and ours with the same tensors: the oracle of the tests of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from transformers import Gemma3Config, Gemma3TextConfig, SiglipVisionConfig, SiglipVisionModel
from transformers.models.gemma3.modeling_gemma3 import Gemma3MultiModalProjector

from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.nn.gemma import Tower
from gemwright.weights.vision_names import vision_table

# Sizes that tell mistakes apart: pooled 4 × 4 as in Gemma 3, but 3 × 3 tokens, and no two widths are equal.
SMALL = Vision(
    tower=Encoder(image=168, patch=14, width=48, hidden=80, heads=3, depth=3, norm_epsilon=1e-6),
    tokens=9,
)
WIDTH = 72


@dataclass(frozen=True, kw_only=True)
class Eyes:
    """Both sides of one tower, float32, with the same awake values."""

    spec: Vision
    width: int
    encoder: SiglipVisionModel
    projector: Gemma3MultiModalProjector

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The values, by our names."""
        names = vision_table("encoder.", "projector.")
        found = {}
        for part, module in (("encoder.", self.encoder), ("projector.", self.projector)):
            for name, value in module.state_dict().items():
                ours = names.ours(part + name)
                assert ours is not None, name
                found[ours] = value
        return found

    def ours(self, tensors: dict[str, Tensor] | None = None) -> Tower:
        """Our tower with these tensors, or the oracle's own."""
        with torch.device("meta"):
            tower = Tower(self.spec, self.width)
        tower.load_state_dict(self.tensors if tensors is None else tensors, assign=True)
        return tower.eval().requires_grad_(False)

    def oracle(self, pixels: Tensor) -> Tensor:
        """Soft tokens `[B, T, D]` of transformers."""
        with torch.no_grad():
            return self.projector(self.encoder(pixel_values=pixels).last_hidden_state)


def build(spec: Vision = SMALL, width: int = WIDTH, seed: int = 0, attention: str = "eager") -> Eyes:
    """Transformers' encoder and projector of that shape, awake; `attention` is one of its own."""
    tower = spec.tower
    vision = SiglipVisionConfig(
        hidden_size=tower.width,
        intermediate_size=tower.hidden,
        num_hidden_layers=tower.depth,
        num_attention_heads=tower.heads,
        image_size=tower.image,
        patch_size=tower.patch,
        layer_norm_eps=tower.norm_epsilon,
        vision_use_head=False,
    )
    text = Gemma3TextConfig(hidden_size=width)
    with torch.device("meta"):
        encoder = SiglipVisionModel(vision)
        projector = Gemma3MultiModalProjector(
            Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=spec.tokens)
        )
    for module in (encoder, projector):
        module.to_empty(device="cpu").eval().requires_grad_(False)
    encoder.embeddings.get_buffer("position_ids").copy_(torch.arange(tower.grid**2)[None])
    encoder.set_attn_implementation(attention)
    wake(encoder, seed)
    wake(projector, seed + 1)
    return Eyes(spec=spec, width=width, encoder=encoder, projector=projector)


_GAINS = {"q_proj": 2.0, "k_proj": 2.0, "fc1": 0.7, "fc2": 10.0}
_GELU = -2.0  # the two forms of gelu differ most here, beside what they return


@torch.no_grad()
def wake(module: nn.Module, seed: int) -> None:
    """Draw every parameter anew, in the order of its name: norms and biases with a standard deviation of 0.3 and more,
    and scores of which some dominate their softmax."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(module.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        owner, kind = ("." + name).split(".")[-2:]
        if "layer_norm" in owner or "layernorm" in owner:
            parameter.copy_(0.3 * noise + (kind == "weight"))  # a LayerNorm's weight is centred on 1
        elif owner == "mm_soft_emb_norm" or kind == "bias":
            parameter.copy_(0.4 * noise + (_GELU if owner == "fc1" else 0.0))
        else:
            gain = 1.0 if kind == "mm_input_projection_weight" else _GAINS.get(owner, 1.0)
            inputs = parameter.shape[0] if kind == "mm_input_projection_weight" else parameter[0].numel()
            parameter.copy_(noise * gain * inputs**-0.5)
        if owner == "position_embedding":
            parameter.copy_(noise)


def pixels(pictures: int, side: int, seed: int = 0) -> Tensor:
    """`[B, 3, side, side]` in [-1, 1], 256 levels, each colour for itself; coarse shapes with some noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(pictures, 3, 12, 12, generator=generator) * 2 - 1
    smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)
    noise = 0.2 * torch.randn(pictures, 3, side, side, generator=generator)
    return ((smooth + noise + 1).clamp(0, 2) * 127.5).round() / 127.5 - 1
