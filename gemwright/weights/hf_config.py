"""Hugging Face's config.json → `arch.spec.Model`: both generations of its keys, flat and multimodal.

Published files leave out whatever equals the default of the class that transformers reads them with, so those defaults
are facts of the format and stand here as tables. Keys that would change the arithmetic in a way that no Gemma knows
are refused; keys that nobody here knows are carried along and named once in the notes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gemwright.arch.gemma1 import gemma1
from gemwright.arch.gemma2 import gemma2
from gemwright.arch.gemma3 import gemma3
from gemwright.arch.presets import names, preset
from gemwright.arch.recurrentgemma import recurrentgemma
from gemwright.arch.spec import Attention, Layer, Model, Tower, Vision, check
from gemwright.errors import UserError
from gemwright.weights.fields import Fields, list_folder, read_json, shorten
from gemwright.weights.generation import read_generation as read_generation  # the folder's other config
from gemwright.weights.hf_keys import check_keys
from gemwright.weights.layout import Layout, survey

# The defaults of transformers' configuration classes (5.23), by model_type.
DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma": {
        "vocab_size": 256_000,
        "hidden_size": 3072,
        "intermediate_size": 24_576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "max_position_embeddings": 8192,
    },
    "gemma2": {
        "vocab_size": 256_000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 8192,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    "gemma3_text": {
        "vocab_size": 262_208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131_072,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
    },
    "recurrent_gemma": {
        "vocab_size": 256_000,
        "hidden_size": 2560,
        "intermediate_size": 3 * 2560,
        "num_hidden_layers": 26,
        "num_attention_heads": 10,
        "attention_window_size": 2048,
        "conv1d_width": 4,
        "logits_soft_cap": 30.0,
    },
    "siglip_vision_model": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 16,
        "layer_norm_eps": 1e-6,
    },
}
_LAYER_TYPES = ("sliding_attention", "full_attention")
_ROPE_TYPES = ("default", "linear")
MAX_DEPTH = 4096  # far beyond any model; a larger number is damage, and building its spec would eat the memory
_MAX_SIZE = 1 << 24


def parse(config: Mapping[str, Any], name: str = "model", where: str = "config.json") -> tuple[Model, list[str]]:
    """The model that a config tree describes, and remarks for people.

    A model with the sizes of a published one takes its name, any other is called `name`. Raises `UserError` naming
    `where`, the key and the value for anything that cannot be run exactly.
    """
    fields = Fields(config, where)
    kind = _model_type(fields)
    model = replace(_READERS[kind](fields), name=name)
    try:
        check(model)
    except ValueError as error:
        raise UserError(
            f"{where} describes no model: {error}", hint="the file is damaged or of another kind"
        ) from error
    check_keys(fields)
    return replace(model, name=published_name(model) or name), fields.notes


def read(folder: Path) -> tuple[Model, Layout]:
    """The model of a Hugging Face folder and everything that an export needs to give the folder back."""
    list_folder(folder)
    path = folder / "config.json"
    config = read_json(path)
    model, notes = parse(config, _called(folder), str(path))
    return model, survey(folder, config, notes)


def _called(folder: Path) -> str:
    """A folder's name; in the hub's cache (models--owner--name/snapshots/commit) the repository's."""
    real = folder.resolve()
    if real.parent.name == "snapshots":
        return real.parent.parent.name.rpartition("--")[2]
    return real.name


def published_name(model: Model) -> str | None:
    """The preset with the same facts; the rows of the table may differ, files of 4B and up have 64 rows of padding."""
    for name in names():
        known = preset(name, vocab=model.vocab)
        if replace(known, name=model.name, vision=model.vision) == model:
            return name
    return None


def _model_type(fields: Fields) -> str:
    kind = fields.raw("model_type", None)
    if kind is None:
        raise fields.refuse("model_type", "which says nothing", hint="is this the config of a Gemma?")
    if not isinstance(kind, str) or kind not in _READERS:
        known = ", ".join(_READERS)
        raise fields.refuse("model_type", "another architecture", hint=f"Gemwright runs {known}")
    return kind


def _activation(fields: Fields) -> None:
    """Gemma's MLPs use the tanh form; the word "gelu" under the old key of the first releases means it too."""
    if fields.has("hidden_act"):
        fields.choice("hidden_act", None, ("gelu_pytorch_tanh", "gelu"), "an activation that no Gemma has")
    if fields.has("hidden_activation"):
        fields.choice("hidden_activation", None, ("gelu_pytorch_tanh",), "an activation that no Gemma has")


def _rope(section: Fields, base: float) -> tuple[float, float]:
    """(base, factor) of an object with rope_type, rope_theta and factor."""
    key = "rope_type" if section.has("rope_type") else "type"
    kind = section.choice(key, "default", _ROPE_TYPES, "a way to stretch positions that no Gemma uses")
    base = section.number("rope_theta", base)
    factor = section.number("factor", 1.0) if section.has("factor") or kind == "linear" else 1.0
    if kind == "default" and factor != 1.0:
        raise section.refuse("factor", "but the rope_type beside it is default", hint="say which of the two holds")
    return base, factor


def _flat_rope(fields: Fields, base: float) -> tuple[float, float]:
    """(base, factor) where all layers share one, old keys or new; rope_scaling wins over rope_parameters."""
    base = fields.number("rope_theta", base) if fields.has("rope_theta") else base
    for key in ("rope_scaling", "rope_parameters"):
        if fields.has(key):
            return _rope(fields.section(key), base)
    return base, 1.0


def _layered_rope(fields: Fields) -> dict[str, tuple[float, float]]:
    """(base, factor) per kind of layer in Gemma 3. The old `rope_scaling` stretches global layers only."""
    bases = {
        "full_attention": fields.number("rope_theta", 1e6) if fields.has("rope_theta") else 1e6,
        "sliding_attention": fields.number("rope_local_base_freq", 1e4) if fields.has("rope_local_base_freq") else 1e4,
    }
    found = {kind: (base, 1.0) for kind, base in bases.items()}
    if fields.has("rope_parameters"):
        section = fields.section("rope_parameters")
        stray = sorted(set(section.tree) - set(_LAYER_TYPES))
        if stray:
            outside = f"{shorten(stray[0])} stands outside {' and '.join(_LAYER_TYPES)}"
            raise fields.refuse("rope_parameters", f"Gemma 3 states RoPE per kind of layer; {outside}")
        for kind in _LAYER_TYPES:
            if section.has(kind):
                found[kind] = _rope(section.section(kind), bases[kind])
    if fields.has("rope_scaling"):
        base = found["full_attention"][0]
        found["full_attention"] = _rope(fields.section("rope_scaling"), base)
    return found


def _sizes(fields: Fields, kind: str) -> dict[str, Any]:
    """What every family states in the same words."""
    defaults = DEFAULTS[kind]
    _activation(fields)
    sizes: dict[str, Any] = {
        "width": fields.integer("hidden_size", defaults["hidden_size"], high=_MAX_SIZE),
        "depth": fields.integer("num_hidden_layers", defaults["num_hidden_layers"], high=MAX_DEPTH),
        "heads": fields.integer("num_attention_heads", defaults["num_attention_heads"], high=_MAX_SIZE),
        "hidden": fields.integer("intermediate_size", defaults["intermediate_size"], high=_MAX_SIZE),
        "vocab": fields.integer("vocab_size", defaults["vocab_size"], high=_MAX_SIZE),
        "norm_epsilon": fields.number("rms_norm_eps", 1e-6, high=1.0),
        "name": "",
    }
    if "head_dim" in defaults:
        sizes["head_dim"] = fields.integer("head_dim", defaults["head_dim"], high=_MAX_SIZE)
        sizes["kv_heads"] = fields.integer("num_key_value_heads", defaults["num_key_value_heads"], high=_MAX_SIZE)
        sizes["context"] = fields.integer("max_position_embeddings", defaults["max_position_embeddings"])
    return sizes


def _window(fields: Fields, kind: str, types: tuple[str, ...]) -> int:
    """The window of local layers; a file without local layers may leave it null."""
    if fields.raw("sliding_window", DEFAULTS[kind]["sliding_window"]) is None:
        if "sliding_attention" in types:
            raise fields.refuse("sliding_window", "and layer_types has sliding layers")
        return 1
    return fields.integer("sliding_window", DEFAULTS[kind]["sliding_window"])


def _types(fields: Fields, depth: int, pattern: int) -> tuple[str, ...]:
    """The kind of each layer: stated one by one, or every `pattern`-th global."""
    if not fields.has("layer_types"):
        return tuple(_LAYER_TYPES[(index + 1) % pattern == 0] for index in range(depth))
    types = fields.words("layer_types", _LAYER_TYPES)
    if len(types) != depth:
        raise UserError(
            f"{fields.where}: {fields.prefix}layer_types has {len(types)} entries and num_hidden_layers is {depth}",
            hint="correct the values, or fetch the file again",
        )
    return types


def _with_layers(model: Model, types: tuple[str, ...], ropes: Mapping[str, tuple[float, float]]) -> Model:
    """`model` gives one local and one global layer; they are lined up as `types` says, with these RoPEs."""

    def shaped(layer: Layer, kind: str) -> Layer:
        assert isinstance(layer.mixer, Attention)
        base, factor = ropes[kind]
        return replace(layer, mixer=replace(layer.mixer, rope=replace(layer.mixer.rope, base=base, factor=factor)))

    kinds = {kind: shaped(layer, kind) for kind, layer in zip(_LAYER_TYPES, model.layers, strict=True)}
    return replace(model, layers=tuple(kinds[kind] for kind in types))


def _gemma1(fields: Fields) -> Model:
    sizes = _sizes(fields, "gemma")
    base, factor = _flat_rope(fields, 1e4)
    model = gemma1(**sizes, rope_base=base)
    mixer = model.layers[0].mixer
    assert isinstance(mixer, Attention)
    layer = replace(model.layers[0], mixer=replace(mixer, rope=replace(mixer.rope, factor=factor)))
    return replace(model, layers=(layer,) * len(model.layers))


def _gemma2(fields: Fields) -> Model:
    defaults = DEFAULTS["gemma2"]
    sizes = _sizes(fields, "gemma2")
    types = _types(fields, sizes["depth"], 2)
    rope = _flat_rope(fields, 1e4)
    model = gemma2(
        **{**sizes, "depth": 2},
        window=_window(fields, "gemma2", types),
        pattern=2,
        query_scalar=fields.number("query_pre_attn_scalar", defaults["query_pre_attn_scalar"]),
        attention_cap=fields.optional_number("attn_logit_softcapping", defaults["attn_logit_softcapping"]),
        final_cap=fields.optional_number("final_logit_softcapping", defaults["final_logit_softcapping"]),
        rope_base=rope[0],
    )
    return _with_layers(model, types, dict.fromkeys(_LAYER_TYPES, rope))


def _gemma3_text(fields: Fields) -> Model:
    defaults = DEFAULTS["gemma3_text"]
    sizes = _sizes(fields, "gemma3_text")
    pattern = 6
    for key in ("_sliding_window_pattern", "sliding_window_pattern"):
        pattern = fields.integer(key, high=MAX_DEPTH) if fields.has(key) else pattern
    types = _types(fields, sizes["depth"], pattern)
    model = gemma3(
        **{**sizes, "depth": 2},
        window=_window(fields, "gemma3_text", types),
        pattern=2,
        query_scalar=fields.number("query_pre_attn_scalar", defaults["query_pre_attn_scalar"]),
        local_base=1e4,
        global_base=1e6,
        global_factor=1.0,
        attention_cap=fields.optional_number("attn_logit_softcapping", defaults["attn_logit_softcapping"]),
        final_cap=fields.optional_number("final_logit_softcapping", defaults["final_logit_softcapping"]),
        vision=None,
    )
    return _with_layers(model, types, _layered_rope(fields))


def _gemma3(fields: Fields) -> Model:
    if not fields.has("text_config"):
        raise fields.refuse("text_config", "and a multimodal Gemma 3 states its text model there")
    text = fields.section("text_config")
    if text.raw("model_type", "gemma3_text") not in ("gemma3_text", "gemma3"):
        raise text.refuse("model_type", "another architecture", hint="Gemwright runs gemma3_text there")
    model = _gemma3_text(text)
    check_keys(text)
    return replace(model, vision=_vision(fields) if fields.has("vision_config") else None)


def _vision(fields: Fields) -> Vision:
    section, defaults = fields.section("vision_config"), DEFAULTS["siglip_vision_model"]
    section.choice("model_type", "siglip_vision_model", ("siglip_vision_model",), "another vision model")
    if section.has("hidden_act"):
        section.choice("hidden_act", None, ("gelu_pytorch_tanh",), "an activation that Gemma's SigLIP does not have")
    if section.integer("num_channels", 3) != 3:
        raise section.refuse("num_channels", "pictures have three colours")

    def size(key: str) -> int:
        return section.integer(key, defaults[key], high=_MAX_SIZE)

    tower = Tower(
        image=size("image_size"),
        patch=size("patch_size"),
        width=size("hidden_size"),
        hidden=size("intermediate_size"),
        heads=size("num_attention_heads"),
        depth=size("num_hidden_layers"),
        norm_epsilon=section.number("layer_norm_eps", defaults["layer_norm_eps"], high=1.0),
    )
    check_keys(section)
    tokens = fields.integer("mm_tokens_per_image", 256, high=_MAX_SIZE)
    side = round(tokens**0.5)
    if side * side != tokens or (tower.image // tower.patch) % side:
        patches = tower.image // tower.patch
        raise fields.refuse("mm_tokens_per_image", f"{patches} × {patches} patches cannot be pooled to so many tokens")
    return Vision(tower=tower, tokens=tokens)


def _recurrent(fields: Fields) -> Model:
    sizes = _sizes(fields, "recurrent_gemma")
    defaults, heads, width = DEFAULTS["recurrent_gemma"], sizes["heads"], sizes["width"]
    if sizes["hidden"] % 2:
        raise fields.refuse("intermediate_size", "it counts both branches of the MLP and must be even")
    if not fields.has("head_dim") and width % heads:
        raise fields.refuse("num_attention_heads", f"which does not divide hidden_size {width}")
    base, factor = _flat_rope(fields, 1e4)
    if factor != 1.0:
        raise UserError(f"{fields.where}: RoPE is stretched by {factor}", hint="no RecurrentGemma does that")
    share = fields.number("partial_rotary_factor", 0.5, high=1.0) if fields.has("partial_rotary_factor") else 0.5
    if fields.has("rope_parameters"):
        share = fields.section("rope_parameters").number("partial_rotary_factor", share, high=1.0)
    key = "block_types" if fields.has("block_types") or not fields.has("_block_types") else "_block_types"
    stated = fields.has(key)
    blocks = fields.words(key, ("recurrent", "attention")) if stated else ("recurrent", "recurrent", "attention")
    griffin = fields.tree.get("model_type") == "griffin"
    return recurrentgemma(
        **sizes | {"hidden": sizes["hidden"] // 2},
        recurrent_width=fields.integer("lru_width", high=_MAX_SIZE) if fields.has("lru_width") else width,
        conv=fields.integer("conv1d_width", defaults["conv1d_width"], high=MAX_DEPTH),
        kv_heads=fields.integer("num_key_value_heads", high=_MAX_SIZE) if fields.has("num_key_value_heads") else heads,
        head_dim=fields.integer("head_dim", high=_MAX_SIZE) if fields.has("head_dim") else width // heads,
        context=None,
        window=fields.integer("attention_window_size", defaults["attention_window_size"]),
        window_edge="inside",
        rope_base=base,
        rope_share=share,
        blocks=blocks,  # type: ignore[arg-type]  # words() has checked them
        gate_blocks=fields.integer("gate_blocks", heads) if griffin else heads,
        embed_scale=fields.flag("scale_embeddings", True) if griffin else True,
        final_cap=fields.optional_number("logits_soft_cap", defaults["logits_soft_cap"]),
    )


_READERS: dict[str, Callable[[Fields], Model]] = {
    "gemma": _gemma1,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3_text,
    "gemma3": _gemma3,
    "recurrent_gemma": _recurrent,
    # Sizes of the Griffin paper that transformers' RecurrentGemma cannot state; a name of its own keeps it from trying.
    "griffin": _recurrent,
}
