"""The tables rename every parameter of every family, there and back."""

from __future__ import annotations

import json

import pytest
import torch
import transformers

from gemwright.arch.presets import names, preset
from gemwright.nn.decoder import Decoder
from gemwright.weights.hf_write import write
from gemwright.weights.names import GEMMA_PYTORCH, PREFIXES, find_prefix, is_rotary, is_vision, table


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", ["gemma-2b", "gemma-2-2b", "gemma-3-270m", "recurrentgemma-2b"])
def test_every_parameter_goes_there_and_back(name, prefix) -> None:
    with torch.device("meta"):
        model = Decoder(preset(name, depth=3))
    renamed = table(model.spec.family, prefix)
    theirs = {ours: renamed.theirs(ours) for ours, _ in model.named_parameters()}
    assert {renamed.ours(name): name for name in theirs.values()} == theirs
    assert find_prefix(list(theirs.values())) == prefix


@pytest.mark.parametrize("name", [name for name in names() if not name.startswith("griffin")])
def test_names_and_shapes_are_those_of_transformers(name, tmp_path) -> None:
    """On the meta device, at full size and full depth; the multimodal sizes as their own class spells them."""
    spec = preset(name)
    with torch.device("meta"):
        model = Decoder(spec)
        (tmp_path / "config.json").write_text(json.dumps(write(spec)))
        kind = transformers.AutoModelForImageTextToText if spec.vision else transformers.AutoModelForCausalLM
        reference = kind.from_config(transformers.AutoConfig.from_pretrained(tmp_path))
    renamed = table(spec.family, "model.language_model." if spec.vision else "model.")
    ours = {renamed.theirs(name): tuple(value.shape) for name, value in model.named_parameters()}
    theirs = {name: tuple(value.shape) for name, value in reference.named_parameters() if not is_vision(name)}
    assert ours == theirs


def test_the_same_word_is_another_norm_in_gemma_1() -> None:
    word = "model.layers.4.post_attention_layernorm.weight"
    assert table("gemma1", "model.").ours(word) == "layers.4.mlp_norm.weight"
    for formats in ({}, {"formats": GEMMA_PYTORCH}):
        assert table("gemma2", "model.", **formats).ours(word) == "layers.4.mixer_post_norm.weight"
        assert table("gemma3", "model.", **formats).ours(word) == "layers.4.mixer_post_norm.weight"


@pytest.mark.parametrize(
    "name", ["model.layers.04.mlp.up_proj.weight", "model.layers.4.mlp.up_proj.weight.x", "layers.4.mlp.up_proj.weight"]
)
def test_a_name_that_is_nearly_right_is_nobody_s(name) -> None:
    assert table("gemma3", "model.").ours(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "vision_tower.vision_model.embeddings.patch_embedding.weight",
        "model.vision_tower.vision_model.post_layernorm.bias",
        "model.vision_tower.encoder.layers.0.mlp.fc1.weight",
        "vision_tower.post_layernorm.weight",
        "multi_modal_projector.mm_input_projection_weight",
        "model.multi_modal_projector.mm_soft_emb_norm.weight",
    ],
)
def test_every_spelling_of_the_vision_half_is_known(name) -> None:
    assert is_vision(name)
    assert table("gemma3", "model.").ours(name) is None


def test_saved_angles_are_known() -> None:
    assert is_rotary("model.layers.3.self_attn.rotary_emb.inv_freq") and is_rotary("local_freqs_cis")
    assert not is_rotary("model.layers.3.self_attn.q_proj.weight")
