"""Files of google/gemma_pytorch, made here in the form that its two classes save."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.arch.spec import Attention, Model
from gemwright.errors import UserError
from gemwright.loading import load_model
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.weights.save import save
from gemwright.weights.torch_ckpt import TorchCheckpoint, is_checkpoint

TINY = {
    "gemma-2b": {"width": 16, "depth": 2, "heads": 2, "head_dim": 8, "hidden": 24, "vocab": 40},
    "gemma-2-2b": {"width": 16, "depth": 2, "heads": 4, "kv_heads": 2, "head_dim": 8, "hidden": 24, "vocab": 40},
    "gemma-3-4b": {"width": 16, "depth": 7, "heads": 4, "kv_heads": 2, "head_dim": 8, "hidden": 24, "vocab": 40},
}
NORMS = {
    "gemma1": {"mixer_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"},
    "gemma2": {
        "mixer_norm": "input_layernorm",
        "mixer_post_norm": "post_attention_layernorm",
        "mlp_norm": "pre_feedforward_layernorm",
        "mlp_post_norm": "post_feedforward_layernorm",
    },
}
NORMS["gemma3"] = NORMS["gemma2"]


def model_of(name: str) -> Decoder:
    model = Decoder(preset(name, **TINY[name]))
    initialise(model, torch.Generator().manual_seed(3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
    return model


def published_form(model: Decoder, multimodal: bool = False) -> dict[str, torch.Tensor]:
    """The model's weights under the names of gemma_pytorch, queries, keys and values in one matrix."""
    own = dict(model.named_parameters())
    table = "text_token_embedder.weight" if multimodal else "embedder.weight"
    out = {table: own["embed.weight"], "model.norm.weight": own["final_norm.weight"], "freqs_cis": torch.ones(4) * 1j}
    for index, layer in enumerate(model.spec.layers):
        here, there = f"layers.{index}.", f"model.layers.{index}."
        fused = [own[f"{here}mixer.{part}.weight"] for part in ("query", "key", "value")]
        out[there + "self_attn.qkv_proj.weight"] = torch.cat(fused)
        out[there + "self_attn.o_proj.weight"] = own[here + "mixer.out.weight"]
        for branch in ("gate", "up", "down"):
            out[f"{there}mlp.{branch}_proj.weight"] = own[f"{here}mlp.{branch}.weight"]
        for ours, theirs in NORMS[model.spec.family].items():
            out[f"{there}{theirs}.weight"] = own[f"{here}{ours}.weight"]
        if isinstance(layer.mixer, Attention) and layer.mixer.qk_norm:
            for norm in ("query_norm", "key_norm"):
                out[f"{there}self_attn.{norm}.weight"] = own[f"{here}mixer.{norm}.weight"]
    if multimodal:
        out["siglip_vision_model.patch_embedding.weight"] = torch.ones(2)
        out["mm_input_projection.weight"] = torch.ones(2)
        out["mm_soft_embedding_norm.weight"] = torch.ones(2)
    return {name: value.detach() for name, value in out.items()}


def same(model: Decoder, other: Decoder) -> bool:
    return all(torch.equal(value, other.get_parameter(name)) for name, value in model.named_parameters())


@pytest.mark.parametrize("wrapped", [True, False], ids=["model_state_dict", "plain"])
@pytest.mark.parametrize("name", TINY)
def test_the_text_class_is_read_exactly(tmp_path, name, wrapped) -> None:
    model = model_of(name)
    tree = published_form(model)
    torch.save({"model_state_dict": tree} if wrapped else tree, tmp_path / "model.ckpt")
    loaded = load_model(tmp_path / "model.ckpt", preset=model.spec)
    assert same(model, loaded.model)
    assert loaded.layout is None
    assert ("freqs_cis",) in loaded.left.values()


def test_the_multimodal_class_is_read_and_its_vision_half_left(tmp_path) -> None:
    model = model_of("gemma-3-4b")
    torch.save({"model_state_dict": published_form(model, multimodal=True)}, tmp_path / "model.ckpt")
    loaded = load_model(tmp_path, preset=model.spec)  # the folder will do
    assert same(model, loaded.model)
    assert any(len(names) == 3 for names in loaded.left.values())


def test_shards_of_torch_files_are_read(tmp_path) -> None:
    model = model_of("gemma-2-2b")
    tree = published_form(model)
    names = sorted(tree)
    parts = {"a.bin": names[:5], "b.bin": names[5:]}
    for file, held in parts.items():
        torch.save({name: tree[name] for name in held}, tmp_path / file)
    index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert same(model, load_model(tmp_path, preset=model.spec).model)
    (tmp_path / "b.bin").unlink()
    with pytest.raises(UserError, match=r"b\.bin"):
        load_model(tmp_path, preset=model.spec)


def test_it_can_be_exported_as_a_hugging_face_folder(tmp_path) -> None:
    model = model_of("gemma-3-4b")
    torch.save(published_form(model), tmp_path / "model.ckpt")
    loaded = load_model(tmp_path / "model.ckpt", preset=model.spec)
    assert same(model, load_model(save(loaded.model, tmp_path / "out")).model)


@pytest.mark.parametrize("name", ["gemma-2b", "gemma-7b", "gemma-2-9b", "gemma-2-27b", "gemma-3-270m", "gemma-3-1b"])
def test_the_published_sizes_are_told_by_their_shapes(tmp_path, name, monkeypatch) -> None:
    spec = preset(name)
    with torch.device("meta"):
        tree = published_form(Decoder(spec))
    tree["freqs_cis"] = torch.empty(1, device="meta")
    monkeypatch.setattr("gemwright.weights.torch_ckpt._read_file", lambda path: tree)
    path = tmp_path / "model.ckpt"
    path.touch()
    assert TorchCheckpoint(path).spec == spec


def test_unknown_sizes_ask_for_a_preset(tmp_path) -> None:
    torch.save(published_form(model_of("gemma-2b")), tmp_path / "model.ckpt")
    with pytest.raises(UserError, match="--preset"):
        load_model(tmp_path / "model.ckpt")


def test_a_wrong_preset_is_told_by_the_rows(tmp_path) -> None:
    torch.save(published_form(model_of("gemma-2-2b")), tmp_path / "model.ckpt")
    with pytest.raises(UserError, match=r"qkv_proj.*64 rows"):
        load_model(tmp_path / "model.ckpt", preset="gemma-2-2b")


def refused(path: Path, spec: Model, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        load_model(path, preset=spec)
    assert caught.value.hint


def test_a_quantised_variant_is_refused_with_its_reason(tmp_path) -> None:
    model = model_of("gemma-2b")
    tree = published_form(model)
    tree["model.layers.0.mlp.up_proj.weight_scaler"] = torch.ones(24)
    torch.save(tree, tmp_path / "model.ckpt")
    refused(tmp_path / "model.ckpt", model.spec, "quantised")


class Hostile:
    def __reduce__(self):
        return (print, ("executed",))


def test_code_in_a_file_is_refused_and_not_run(tmp_path, capsys) -> None:
    torch.save({"embedder.weight": Hostile()}, tmp_path / "model.ckpt")
    refused(tmp_path / "model.ckpt", preset("gemma-2b"), "cannot be read")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("keep", [0.02, 0.4, 0.95])
def test_a_file_cut_short_is_refused(tmp_path, keep) -> None:
    path = tmp_path / "model.ckpt"
    model = model_of("gemma-2b")
    torch.save(published_form(model), path)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep)])
    refused(path, model.spec, "model.ckpt")


@pytest.mark.parametrize("tree", [[1, 2], {"a": 1}, {"a": torch.ones(2)}, {"embedder.weight": torch.ones(())}], ids=str)
def test_a_file_of_something_else_is_refused(tmp_path, tree) -> None:
    torch.save(tree, tmp_path / "model.ckpt")
    with pytest.raises(UserError, match=r"model\.ckpt"):
        load_model(tmp_path / "model.ckpt")


def test_a_lost_pointer_is_called_what_it_is(tmp_path) -> None:
    (tmp_path / "model.ckpt").write_text("version https://git-lfs.github.com/spec/v1\n")
    refused(tmp_path / "model.ckpt", preset("gemma-2b"), "git-lfs")


def test_a_hugging_face_folder_is_not_mistaken(tmp_path) -> None:
    assert not is_checkpoint(save(model_of("gemma-2b"), tmp_path / "out"))
    assert not is_checkpoint(tmp_path / "absent")
