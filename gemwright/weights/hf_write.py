"""`arch.spec.Model` → Hugging Face's config.json.

A model that was read from a folder gives that folder's tree back. Any other is written in the newest generation of
keys, every value stated, and the tree is read again before it is returned: what it cannot say is refused.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import torch

from gemwright.arch.spec import Attention, Layer, Model, Recurrent
from gemwright.errors import UserError
from gemwright.text import pieces
from gemwright.weights.hf_config import parse
from gemwright.weights.layout import Layout

_SPECIAL_IDS = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
_ARCHITECTURES = {
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "gemma3": "Gemma3ForConditionalGeneration",
    "recurrent_gemma": "RecurrentGemmaForCausalLM",
    "griffin": "GriffinForCausalLM",
}


class Marks(NamedTuple):
    """The ids that tell where a picture stands in a prompt: before it, for each of its soft tokens, after it."""

    start: int
    soft: int
    end: int


RELEASED = Marks(
    start=pieces.GEMMA_3.ids[pieces.START_OF_IMAGE],
    soft=pieces.GEMMA_3.ids[pieces.IMAGE_SOFT],
    end=pieces.GEMMA_3.ids[pieces.END_OF_IMAGE],
)


def write(
    spec: Model,
    layout: Layout | None = None,
    dtype: torch.dtype | None = None,
    *,
    eyes: bool = False,
    marks: Marks | None = None,
) -> dict[str, Any]:
    """The config tree of a model; `dtype` is that of the tensors beside it (None: as in the layout, or not stated).
    `eyes`: those of a layout's vision half too, which otherwise stay as they are. `marks`: those of the vocabulary of a
    model that sees, without a layout (None: of the released one).

    Raises `ValueError` when the layout is another model's, `UserError` when config.json has no words for the model.
    """
    word = str(dtype).removeprefix("torch.") if dtype else None
    if layout is not None:
        if (field := _difference(parse(layout.config)[0], spec)) is not None:
            raise ValueError(f"the layout was read from a model with another {field}")
        return _with_dtype(copy.deepcopy(layout.config), word, eyes)
    tree = _TREES[spec.family](spec) | {"architectures": [], "dtype": word}
    if spec.vision is not None:
        start, soft, end = marks or RELEASED
        tree |= {"boi_token_index": start, "eoi_token_index": end, "image_token_index": soft}
    tree["architectures"] = [_ARCHITECTURES[tree["model_type"]]]
    if word is None:
        del tree["dtype"]
    if (field := _difference(parse(tree)[0], spec)) is not None:
        raise UserError(
            f"{spec.name} cannot be stated in a config.json: its {field} has no words there",
            hint="use sizes that the family can state",
        )
    return tree


def _difference(found: Model, wanted: Model) -> str | None:
    """The first field in which two models differ, their names apart."""
    for field, value in asdict(replace(found, name=wanted.name)).items():
        if value != asdict(wanted)[field]:
            return field
    return None


def _with_dtype(tree: dict[str, Any], word: str | None, eyes: bool) -> dict[str, Any]:
    for section in (tree, tree.get("text_config"), tree.get("vision_config") if eyes else None):
        if word is not None and isinstance(section, dict):
            for key in ("dtype", "torch_dtype"):
                if section.get(key) is not None:
                    section[key] = word
    return tree


def _first(spec: Model, kind: str) -> Layer | None:
    return next((layer for layer in spec.layers if layer.kind == kind), None)


def _attention(spec: Model) -> Attention:
    """The attention that speaks for all layers in what they share; the caller's tree is checked against every layer."""
    mixer = next((layer.mixer for layer in spec.layers if isinstance(layer.mixer, Attention)), None)
    if mixer is None:
        raise UserError(f"{spec.name} has no attention layer", hint="only a Griffin can do without")
    return mixer


def _whole(value: float) -> int | float:
    """Whole numbers as integers: transformers insists on it."""
    return int(value) if float(value).is_integer() else value


def _rope(attention: Attention) -> dict[str, Any]:
    rope = attention.rope
    if rope.factor == 1.0:
        return {"rope_theta": rope.base, "rope_type": "default"}
    return {"rope_theta": rope.base, "rope_type": "linear", "factor": rope.factor}


def _common(spec: Model, attention: Attention) -> dict[str, Any]:
    return {
        "attention_bias": False,
        "attention_dropout": 0.0,
        **_SPECIAL_IDS,
        "head_dim": attention.head_dim,
        "hidden_size": spec.width,
        "initializer_range": 0.02,
        "intermediate_size": spec.layers[0].mlp.hidden,
        "max_position_embeddings": spec.context,
        "num_attention_heads": attention.heads,
        "num_hidden_layers": len(spec.layers),
        "num_key_value_heads": attention.kv_heads,
        "rms_norm_eps": spec.norm_epsilon,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": spec.vocab,
    }


def _gemma1(spec: Model) -> dict[str, Any]:
    attention = _attention(spec)
    return _common(spec, attention) | {
        "model_type": "gemma",
        "hidden_act": "gelu_pytorch_tanh",
        "rope_parameters": _rope(attention),
    }


def _windowed(spec: Model) -> dict[str, Any]:
    """What Gemma 2 and 3 state in the same words."""
    attention, local = _attention(spec), _first(spec, "local")
    kinds = {"local": "sliding_attention", "global": "full_attention"}
    return _common(spec, attention) | {
        "hidden_activation": "gelu_pytorch_tanh",
        "attn_logit_softcapping": attention.cap,
        "final_logit_softcapping": spec.final_cap,
        "layer_types": [kinds.get(kind, kind) for kind in spec.kinds],
        "query_pre_attn_scalar": _whole(attention.query_scalar),
        "sliding_window": local.mixer.window if local and isinstance(local.mixer, Attention) else None,
    }


def _gemma2(spec: Model) -> dict[str, Any]:
    return _windowed(spec) | {"model_type": "gemma2", "rope_parameters": _rope(_attention(spec))}


def _gemma3(spec: Model) -> dict[str, Any]:
    ropes = {}
    for kind, word in (("local", "sliding_attention"), ("global", "full_attention")):
        layer = _first(spec, kind)
        if layer is not None and isinstance(layer.mixer, Attention):
            ropes[word] = _rope(layer.mixer)
    text = _windowed(spec) | {"model_type": "gemma3_text", "rope_parameters": ropes}
    if spec.vision is None:
        return text
    tower = spec.vision.tower
    return {
        "model_type": "gemma3",
        **_SPECIAL_IDS,
        "initializer_range": 0.02,
        "mm_tokens_per_image": spec.vision.tokens,
        "tie_word_embeddings": True,
        "text_config": text,
        "vision_config": {
            "attention_dropout": 0.0,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": tower.width,
            "image_size": tower.image,
            "intermediate_size": tower.hidden,
            "layer_norm_eps": tower.norm_epsilon,
            "model_type": "siglip_vision_model",
            "num_attention_heads": tower.heads,
            "num_channels": 3,
            "num_hidden_layers": tower.depth,
            "patch_size": tower.patch,
            "vision_use_head": False,
        },
    }


def _period(kinds: tuple[str, ...]) -> list[str]:
    """The shortest list whose repetition gives these kinds."""
    for length in range(1, len(kinds) + 1):
        if all(kind == kinds[index % length] for index, kind in enumerate(kinds)):
            return list(kinds[:length])
    return list(kinds)


def _recurrentgemma(spec: Model) -> dict[str, Any]:
    recurrent = next((layer.mixer for layer in spec.layers if isinstance(layer.mixer, Recurrent)), None)
    attention = next((layer.mixer for layer in spec.layers if isinstance(layer.mixer, Attention)), None)
    # A model without attention layers still states heads: transformers cuts the gates in as many blocks.
    heads = attention.heads if attention else recurrent.blocks if recurrent else 1
    head_dim = attention.head_dim if attention else max(2, spec.width // heads)
    blocks = recurrent.blocks if recurrent else heads
    tree = {
        "model_type": "recurrent_gemma",
        "attention_bias": False,
        "attention_dropout": 0.0,
        **_SPECIAL_IDS,
        "attention_window_size": attention.window if attention else 2048,
        "block_types": _period(tuple("recurrent" if kind == "recurrent" else "attention" for kind in spec.kinds)),
        "conv1d_width": recurrent.conv if recurrent else 4,
        "head_dim": head_dim,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": spec.width,
        "intermediate_size": 2 * spec.layers[0].mlp.hidden,  # the format counts both branches
        "logits_soft_cap": spec.final_cap,
        "lru_width": recurrent.width if recurrent else spec.width,
        "num_attention_heads": heads,
        "num_hidden_layers": len(spec.layers),
        "num_key_value_heads": attention.kv_heads if attention else 1,
        "rms_norm_eps": spec.norm_epsilon,
        "rope_parameters": {
            "partial_rotary_factor": attention.rope.channels / head_dim if attention else 0.5,
            "rope_theta": attention.rope.base if attention else 1e4,
            "rope_type": "default",
        },
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": spec.vocab,
        "w_init_variance_scale": 0.01,
    }
    scaled = spec.embed_scale != 1.0
    if not scaled or spec.final_cap is None or blocks != heads or head_dim * heads != spec.width:
        # transformers' RecurrentGemma would read another model out of this one, so it must not take it for its own.
        tree |= {"model_type": "griffin", "gate_blocks": blocks, "scale_embeddings": scaled}
    return tree


_TREES = {"gemma1": _gemma1, "gemma2": _gemma2, "gemma3": _gemma3, "recurrentgemma": _recurrentgemma}
