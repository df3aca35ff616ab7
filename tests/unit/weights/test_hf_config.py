"""config.json, as the hub and every transformers wrote it, says the same model here as there."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from gemwright.arch.presets import names, preset
from gemwright.arch.spec import Attention, Model
from gemwright.errors import UserError
from gemwright.weights.hf_config import DEFAULTS, parse, read
from gemwright.weights.hf_write import write

# The files of the first releases state little; the rest comes from the defaults of the classes.
HUB_4B: dict[str, Any] = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "boi_token_index": 255999,
    "eoi_token_index": 256000,
    "eos_token_id": [1, 106],
    "image_token_index": 262144,
    "initializer_range": 0.02,
    "mm_tokens_per_image": 256,
    "model_type": "gemma3",
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
    "torch_dtype": "bfloat16",
    "transformers_version": "4.50.0.dev0",
    "vision_config": {
        "hidden_size": 1152,
        "image_size": 896,
        "intermediate_size": 4304,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
        "patch_size": 14,
        "vision_use_head": False,
    },
}
HUB_27B = copy.deepcopy(HUB_4B)
HUB_27B["text_config"] |= {"hidden_size": 5376, "intermediate_size": 21504, "num_hidden_layers": 62, "head_dim": 128}
HUB_27B["text_config"] |= {"num_attention_heads": 32, "num_key_value_heads": 16, "query_pre_attn_scalar": 168}
HUB_1B: dict[str, Any] = {
    "architectures": ["Gemma3ForCausalLM"],
    "attention_bias": False,
    "attn_logit_softcapping": None,
    "cache_implementation": "hybrid",
    "eos_token_id": [1, 106],
    "final_logit_softcapping": None,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 1152,
    "intermediate_size": 6912,
    "max_position_embeddings": 32768,
    "model_type": "gemma3_text",
    "num_attention_heads": 4,
    "num_hidden_layers": 26,
    "num_key_value_heads": 1,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 10000,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": 512,
    "sliding_window_pattern": 6,
    "torch_dtype": "bfloat16",
    "vocab_size": 262144,
}
HUB_2_27B: dict[str, Any] = {
    "architectures": ["Gemma2ForCausalLM"],
    "attn_logit_softcapping": 50.0,
    "cache_implementation": "hybrid",
    "final_logit_softcapping": 30.0,
    "head_dim": 128,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 4608,
    "intermediate_size": 36864,
    "max_position_embeddings": 8192,
    "model_type": "gemma2",
    "num_attention_heads": 32,
    "num_hidden_layers": 46,
    "num_key_value_heads": 16,
    "query_pre_attn_scalar": 144,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "vocab_size": 256000,
    "_attn_implementation": "eager",
}
HUB_2B: dict[str, Any] = {
    "architectures": ["GemmaForCausalLM"],
    "head_dim": 256,
    "hidden_act": "gelu",
    "hidden_size": 2048,
    "intermediate_size": 16384,
    "max_position_embeddings": 8192,
    "model_type": "gemma",
    "num_attention_heads": 8,
    "num_hidden_layers": 18,
    "num_key_value_heads": 1,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "vocab_size": 256000,
}
HUB_RG_2B: dict[str, Any] = {
    "_block_types": ["recurrent", "recurrent", "attention"],
    "architectures": ["RecurrentGemmaForCausalLM"],
    "attention_bias": False,
    "attention_window_size": 2048,
    "conv1d_width": 4,
    "embeddings_scale_by_sqrt_dim": True,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 2560,
    "intermediate_size": 15360,
    "logits_soft_cap": 30.0,
    "lru_width": 2560,
    "model_type": "recurrent_gemma",
    "num_attention_heads": 10,
    "num_hidden_layers": 26,
    "num_key_value_heads": 1,
    "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "vocab_size": 256000,
    "w_init_variance_scale": 0.01,
}
HUB = {
    "gemma-3-4b": (HUB_4B, {"vocab": 262_208}),
    "gemma-3-27b": (HUB_27B, {"vocab": 262_208}),
    "gemma-3-1b": (HUB_1B, {}),
    "gemma-2-27b": (HUB_2_27B, {}),
    "gemma-2b": (HUB_2B, {}),
    "recurrentgemma-2b": (HUB_RG_2B, {}),
}
CLASSES = {
    "gemma": transformers.GemmaConfig,
    "gemma2": transformers.Gemma2Config,
    "gemma3_text": transformers.Gemma3TextConfig,
    "recurrent_gemma": transformers.RecurrentGemmaConfig,
    "siglip_vision_model": transformers.SiglipVisionConfig,
}


def shrunk(tree: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return copy.deepcopy(tree) | changes


def rope_of(model: Model, kind: str) -> tuple[float, float]:
    mixer = next(layer.mixer for layer in model.layers if layer.kind == kind)
    assert isinstance(mixer, Attention)
    return mixer.rope.base, mixer.rope.factor


@pytest.mark.parametrize("name", HUB)
def test_the_files_of_the_first_releases_are_the_presets(name) -> None:
    tree, sizes = HUB[name]
    model, notes = parse(tree)
    assert model == preset(name, **sizes)
    assert notes == []


@pytest.mark.parametrize("kind", CLASSES)
def test_our_defaults_are_those_of_the_classes(kind) -> None:
    theirs = CLASSES[kind]()
    for key, value in DEFAULTS[kind].items():
        assert getattr(theirs, key) == value, key


@pytest.mark.parametrize("name", names())
def test_what_is_written_is_read_as_the_same_model(name) -> None:
    assert parse(json.loads(json.dumps(write(preset(name)))))[0] == preset(name)


@pytest.mark.parametrize("name", [name for name in names() if not name.startswith("griffin")])
def test_transformers_reads_the_same_values(name, tmp_path) -> None:
    spec = preset(name)
    (tmp_path / "config.json").write_text(json.dumps(write(spec, dtype=torch.bfloat16)))
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    assert config.dtype == torch.bfloat16
    if spec.vision:
        tower = spec.vision.tower
        seen = config.vision_config
        assert (tower.image, tower.patch, tower.width) == (seen.image_size, seen.patch_size, seen.hidden_size)
        assert (tower.hidden, tower.heads) == (seen.intermediate_size, seen.num_attention_heads)
        assert (tower.depth, tower.norm_epsilon) == (seen.num_hidden_layers, seen.layer_norm_eps)
        assert config.mm_tokens_per_image == spec.vision.tokens
    text = config.get_text_config()
    mixer = spec.layers[-1].mixer if spec.family != "recurrentgemma" else spec.layers[2].mixer
    assert isinstance(mixer, Attention)
    assert (text.hidden_size, text.vocab_size, text.num_hidden_layers) == (spec.width, spec.vocab, len(spec.layers))
    assert (text.num_attention_heads, text.num_key_value_heads) == (mixer.heads, mixer.kv_heads)
    assert (text.head_dim, text.rms_norm_eps) == (mixer.head_dim, spec.norm_epsilon)
    branches = 2 if spec.family == "recurrentgemma" else 1
    assert text.intermediate_size == branches * spec.layers[0].mlp.hidden
    words = {"local": "sliding_attention", "global": "full_attention", "recurrent": "linear_attention"}
    if spec.family != "gemma1":
        assert list(text.layer_types) == [words[kind] for kind in spec.kinds]
        assert text.sliding_window == next(
            layer.mixer.window for layer in spec.layers if isinstance(layer.mixer, Attention) and layer.mixer.window
        )
    if spec.family in ("gemma2", "gemma3"):
        assert text.query_pre_attn_scalar == mixer.query_scalar
        assert (text.attn_logit_softcapping, text.final_logit_softcapping) == (mixer.cap, spec.final_cap)
    rope = text.rope_parameters
    flat = {kind: rope.get(words[kind], rope) for kind in set(spec.kinds) - {"recurrent"}}
    for kind, stated in flat.items():
        assert (stated["rope_theta"], stated.get("factor", 1.0)) == rope_of(spec, kind)


@pytest.mark.parametrize("name", HUB)
def test_transformers_own_rewriting_says_the_same_model(name, tmp_path) -> None:
    """Old keys → transformers' classes → new keys: both are read alike."""
    tree, _ = HUB[name]
    (tmp_path / "config.json").write_text(json.dumps(tree))
    newer = transformers.AutoConfig.from_pretrained(tmp_path).to_dict()
    assert parse(json.loads(json.dumps(newer, default=str)))[0] == parse(tree)[0]


def test_only_global_layers_stretch_by_the_old_key() -> None:
    for key in ("rope_type", "type"):
        tree = shrunk(HUB_4B["text_config"], rope_scaling={key: "linear", "factor": 8.0})
        model = parse(tree)[0]
        assert rope_of(model, "global") == (1e6, 8.0)
        assert rope_of(model, "local") == (1e4, 1.0)


def test_an_irregular_pattern_is_honoured() -> None:
    types = ["full_attention", "sliding_attention", "sliding_attention", "full_attention", "full_attention"]
    model = parse(shrunk(HUB_1B, num_hidden_layers=5, layer_types=types))[0]
    assert model.kinds == ("global", "local", "local", "global", "global")
    assert parse(write(model), model.name)[0] == model


def test_a_pattern_stated_as_a_number_is_honoured() -> None:
    model = parse(shrunk(HUB_1B, num_hidden_layers=6, sliding_window_pattern=3))[0]
    assert model.kinds == ("local", "local", "global") * 2


def test_caps_stated_as_null_are_off_and_absent_ones_default() -> None:
    tree = shrunk(HUB_2_27B, final_logit_softcapping=None)
    assert parse(tree)[0].final_cap is None
    del tree["final_logit_softcapping"]
    assert parse(tree)[0].final_cap == 30.0


def named(folder: Path) -> str:
    """What a model of no published size is called that lies in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(shrunk(HUB_1B, num_hidden_layers=7)))
    safetensors.torch.save_file({"x": torch.ones(1)}, folder / "model.safetensors")
    return read(folder)[0].name


def test_a_model_of_no_published_size_is_called_after_its_folder(tmp_path) -> None:
    assert named(tmp_path) == tmp_path.name


def test_a_model_in_the_hub_s_cache_is_called_after_its_repository(tmp_path) -> None:
    assert named(tmp_path / "models--someone--poems" / "snapshots" / "0123abc") == "poems"


REFUSED = {
    "rope type": (HUB_1B, {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "yarn"),
    "rope factor of the default type": (HUB_1B, {"rope_scaling": {"rope_type": "default", "factor": 4.0}}, "factor"),
    "rope factor zero": (HUB_1B, {"rope_scaling": {"rope_type": "linear", "factor": 0}}, "factor"),
    "rope outside the kinds": (HUB_1B, {"rope_parameters": {"rope_theta": 5.0}}, "rope_theta"),
    "architecture": (HUB_1B, {"model_type": "llama"}, "llama"),
    "later family": (HUB_1B, {"model_type": "gemma3n_text"}, "gemma3n_text"),
    "no architecture": (HUB_1B, {"model_type": None}, "model_type"),
    "model_type of a wrong type": (HUB_1B, {"model_type": ["gemma"]}, "model_type"),
    "negative width": (HUB_1B, {"hidden_size": -1152}, "hidden_size is -1152"),
    "zero layers": (HUB_1B, {"num_hidden_layers": 0}, "num_hidden_layers is 0"),
    "absurd depth": (HUB_1B, {"num_hidden_layers": 10**12}, "num_hidden_layers"),
    "word for a number": (HUB_1B, {"vocab_size": "many"}, 'vocab_size is "many"'),
    "bool for a number": (HUB_1B, {"head_dim": True}, "head_dim is true"),
    "fraction of a head": (HUB_1B, {"num_attention_heads": 4.5}, "num_attention_heads"),
    "not a number": (HUB_1B, {"rms_norm_eps": float("nan")}, "rms_norm_eps"),
    "odd head": (HUB_1B, {"head_dim": 15}, "15"),
    "heads that do not share": (HUB_1B, {"num_key_value_heads": 3}, "4 heads cannot share 3"),
    "activation": (HUB_1B, {"hidden_activation": "silu"}, "silu"),
    "exact gelu under the new key": (HUB_1B, {"hidden_activation": "gelu"}, "hidden_activation"),
    "attention bias": (HUB_1B, {"attention_bias": True}, "attention_bias"),
    "untied": (HUB_1B, {"tie_word_embeddings": False}, "tie_word_embeddings"),
    "bidirectional": (HUB_1B, {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    "quantised": (HUB_1B, {"quantization_config": {"quant_method": "gptq"}}, "gptq"),
    "no window": (HUB_1B, {"sliding_window": None}, "sliding_window is null"),
    "unknown layer type": (HUB_1B, {"layer_types": ["chunked_attention"] * 26}, "chunked_attention"),
    "layer types of another depth": (HUB_1B, {"layer_types": ["full_attention"] * 3}, "layer_types has 3"),
    "no text": (HUB_4B, {"text_config": None}, "text_config"),
    "text of another kind": (HUB_4B, {"text_config": {"model_type": "llama"}}, "llama"),
    "text that is a list": (HUB_4B, {"text_config": [1]}, "text_config"),
    "another vision model": (HUB_4B, {"vision_config": {"model_type": "clip_vision_model"}}, "clip"),
    "tokens that pool unevenly": (HUB_4B, {"mm_tokens_per_image": 200}, "mm_tokens_per_image"),
    "odd doubled width": (HUB_RG_2B, {"intermediate_size": 15361}, "intermediate_size"),
    "unknown block": (HUB_RG_2B, {"block_types": ["mamba"]}, "mamba"),
    "no block": (HUB_RG_2B, {"block_types": []}, "block_types"),
    "gates that do not divide": (HUB_RG_2B, {"lru_width": 2561}, "2561"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_config_that_cannot_be_run_is_refused_by_key_and_value(case) -> None:
    tree, changes, named = REFUSED[case]
    with pytest.raises(UserError) as caught:
        parse(shrunk(tree, **changes), where="/x/config.json")
    assert named in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", "nonsense", '{"a": ' + "[" * 100_000, "\xff\xfe", "version https://git-lfs"]
)
def test_a_config_that_is_no_json_object_is_refused(text, tmp_path) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"config\.json"):
        read(tmp_path)


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["linear", "gelu"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["factor", "rope_type", "a"]), inner),
    max_leaves=4,
)


@given(data=st.data(), name=st.sampled_from(sorted(HUB)))
def test_any_value_under_any_key_gives_a_model_or_a_user_error(data, name) -> None:
    tree = copy.deepcopy(HUB[name][0])
    section = tree["text_config"] if "text_config" in tree and data.draw(st.booleans()) else tree
    section[data.draw(st.sampled_from([*sorted(section), "layer_types", "rope_parameters", "sliding_window"]))] = (
        data.draw(_ANYTHING)
    )
    try:
        model, _ = parse(tree)
    except UserError:
        return
    assert len(model.layers) >= 1


def test_a_griffin_is_not_passed_off_as_a_recurrentgemma(tmp_path) -> None:
    tree = write(preset("griffin-100m"))
    (tmp_path / "config.json").write_text(json.dumps(tree))
    with pytest.raises(ValueError, match="griffin"):
        transformers.AutoConfig.from_pretrained(tmp_path)


def test_a_model_without_words_in_the_format_is_refused() -> None:
    model = preset("gemma-3-1b", depth=6)
    mixer = model.layers[0].mixer
    assert isinstance(mixer, Attention)
    odd = replace(model.layers[0], mixer=replace(mixer, heads=2, kv_heads=1))
    with pytest.raises(UserError, match="layers"):
        write(replace(model, layers=(*model.layers[:5], odd)))
