"""Folders in, the same folders out."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers

from gemwright.arch.presets import preset
from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.errors import UserError
from gemwright.loading import load_model, load_tower
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.nn.init import initialise
from gemwright.weights.folder import INDEX, SINGLE
from gemwright.weights.processor import read_processor
from gemwright.weights.save import save

FAMILIES = ("gemma1", "gemma2", "gemma3", "gemma3-vision", "recurrentgemma")
TINY = {
    "gemma-2b": {"width": 16, "depth": 2, "heads": 2, "head_dim": 8, "hidden": 24, "vocab": 40},
    "gemma-2-2b": {"width": 16, "depth": 2, "heads": 2, "kv_heads": 1, "head_dim": 8, "hidden": 24, "vocab": 40},
    "gemma-3-4b": {"width": 16, "depth": 7, "heads": 2, "kv_heads": 1, "head_dim": 8, "hidden": 24, "vocab": 40},
    "recurrentgemma-2b": {
        **{"width": 16, "depth": 4, "heads": 2, "head_dim": 8, "hidden": 24, "vocab": 40},
        **{"recurrent_width": 20, "gate_blocks": 2},
    },
}


SEEN = Vision(tower=Encoder(image=28, patch=7, width=24, hidden=40, heads=2, depth=2, norm_epsilon=1e-6), tokens=4)


def fresh(name: str) -> Decoder:
    model = Decoder(preset(name, **TINY[name]))
    initialise(model, torch.Generator().manual_seed(1))
    return model


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors*")}


def awake(folder: Path) -> torch.Tensor:
    return load_model(folder, dtype="float32").model.embed.weight


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_single_file_comes_back_byte_for_byte(checkpoint, tmp_path, family, dtype) -> None:
    folder = checkpoint(family, dtype)
    loaded = load_model(folder)
    out = save(loaded.model, tmp_path / "out", layout=loaded.layout)
    assert weights(out) == weights(folder)
    assert json.loads((out / "config.json").read_text()) == json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("family", FAMILIES)
def test_shards_and_their_index_come_back_byte_for_byte(checkpoint, tmp_path, family) -> None:
    folder = checkpoint(family, torch.bfloat16, max_shard_size="12KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    loaded = load_model(folder)
    out = save(loaded.model, tmp_path / "out", layout=loaded.layout)
    assert weights(out).keys() == weights(folder).keys()
    for name, data in weights(folder).items():
        if name == INDEX:
            assert json.loads((out / name).read_text()) == json.loads(data)
        else:
            assert (out / name).read_bytes() == data, name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bfloat16_file_survives_a_stay_in_float32(checkpoint, tmp_path, family) -> None:
    folder = checkpoint(family, torch.bfloat16)
    loaded = load_model(folder, dtype="float32")
    out = save(loaded.model, tmp_path / "out", layout=loaded.layout)
    assert weights(out) == weights(folder)


def mixed(folder: Path, wide: torch.dtype) -> Path:
    """The folder with norms of full precision in a wider dtype than the matrices'."""
    tensors = safetensors.torch.load_file(folder / SINGLE)
    for name, value in tensors.items():
        if "norm" in name:
            tensors[name] = torch.randn(value.shape, dtype=torch.float64).to(wide)
    safetensors.torch.save_file(tensors, folder / SINGLE, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("wide", [torch.float32, torch.float64, torch.float16], ids=str)
@pytest.mark.parametrize("family", ["gemma3-vision", "recurrentgemma"])
def test_norms_in_a_wider_dtype_come_back_byte_for_byte(checkpoint, tmp_path, family, wide) -> None:
    folder = mixed(checkpoint(family, torch.bfloat16), wide)
    loaded = load_model(folder)
    assert loaded.dtype == torch.bfloat16 and any("rounded to bfloat16" in note for note in loaded.notes)
    out = save(loaded.model, tmp_path / "out", layout=loaded.layout)
    assert weights(out) == weights(folder)


def test_a_float32_file_survives_a_stay_in_bfloat16(checkpoint, tmp_path) -> None:
    folder = checkpoint("gemma2")
    loaded = load_model(folder, dtype="bfloat16")
    assert weights(save(loaded.model, tmp_path / "out", layout=loaded.layout)) == weights(folder)


def test_a_rounded_tensor_that_changed_is_the_one_written(checkpoint, tmp_path) -> None:
    folder = mixed(checkpoint("gemma3", torch.bfloat16), torch.float32)
    loaded = load_model(folder)
    with torch.no_grad():
        loaded.model.final_norm.weight[-1].add_(1.0)
    out = save(loaded.model, tmp_path / "out", layout=loaded.layout)
    before, after = (safetensors.torch.load_file(path / SINGLE) for path in (folder, out))
    assert torch.equal(after.pop("model.norm.weight"), loaded.model.final_norm.weight.float())
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_rounded_tensors_whose_source_is_gone_are_not_passed_off_as_whole(checkpoint, tmp_path) -> None:
    folder = mixed(checkpoint("gemma1", torch.bfloat16), torch.float32)
    loaded = load_model(folder)
    (folder / SINGLE).unlink()
    with pytest.raises(UserError, match=SINGLE):
        save(loaded.model, tmp_path / "out", layout=loaded.layout)
    save(loaded.model, tmp_path / "out", layout=loaded.layout, dtype=torch.bfloat16)
    assert load_model(tmp_path / "out").notes == ()


def test_documents_are_written_beside_the_weights(tmp_path) -> None:
    out = save(fresh("gemma-2b"), tmp_path / "out", documents={"facts.json": {"b": 1, "a": [2]}})
    assert json.loads((out / "facts.json").read_text()) == {"b": 1, "a": [2]}


@pytest.mark.parametrize("name", ["x" * 300, "~no-such-user-here/x"])
def test_a_target_that_cannot_be_looked_up_is_refused(tmp_path, monkeypatch, name) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="looked up"):
        save(fresh("gemma-2b"), Path(name))
    assert list(tmp_path.iterdir()) == []


def test_other_files_come_along(checkpoint, tmp_path) -> None:
    folder = checkpoint("gemma3")
    loaded = load_model(folder)
    out = save(loaded.model, tmp_path / "out", layout=loaded.layout)
    assert {path.name for path in out.iterdir()} == {path.name for path in folder.iterdir()}
    assert (out / "tokenizer.model").read_bytes() == b"a tokenizer, to the byte"


def test_unknown_config_keys_are_carried(checkpoint, tmp_path, edit) -> None:
    folder = checkpoint("gemma3")
    edit(folder / "config.json", lambda tree: tree.update({"a_key_of_2031": {"deep": [1, None]}}))
    loaded = load_model(folder)
    assert any("a_key_of_2031" in note for note in loaded.notes)
    out = save(loaded.model, tmp_path / "out", layout=loaded.layout)
    assert json.loads((out / "config.json").read_text())["a_key_of_2031"] == {"deep": [1, None]}


@pytest.mark.parametrize("sharded", [False, True], ids=["single", "sharded"])
@pytest.mark.parametrize("name", TINY)
def test_transformers_reads_a_fresh_export_completely(tmp_path, name, sharded) -> None:
    folder = save(fresh(name), tmp_path / "out", max_shard_bytes=4000 if sharded else 1 << 30)
    assert (folder / INDEX).exists() == sharded
    model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert torch.equal(model.get_input_embeddings().weight, awake(folder))


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_reads_an_export_with_layout_completely(checkpoint, tmp_path, family) -> None:
    loaded = load_model(checkpoint(family))
    out = save(loaded.model, tmp_path / "out", layout=loaded.layout)
    kind = transformers.AutoModelForImageTextToText if "vision" in family else transformers.AutoModelForCausalLM
    _, report = kind.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]


@pytest.mark.parametrize("name", TINY)
def test_a_fresh_export_loads_as_the_same_model(tmp_path, name) -> None:
    model = fresh(name)
    loaded = load_model(save(model, tmp_path / "out"))
    for (ours, before), (theirs, after) in zip(model.named_parameters(), loaded.model.named_parameters(), strict=True):
        assert ours == theirs and torch.equal(before, after)
    assert loaded.spec.layers == model.spec.layers


def test_a_fresh_file_is_what_the_reference_writer_makes(tmp_path) -> None:
    import safetensors.torch

    folder = save(fresh("gemma-3-4b"), tmp_path / "out")
    tensors = safetensors.torch.load_file(folder / SINGLE)
    safetensors.torch.save_file(tensors, tmp_path / "reference", metadata={"format": "pt"})
    assert (folder / SINGLE).read_bytes() == (tmp_path / "reference").read_bytes()


def test_an_asked_dtype_is_written_and_stated(checkpoint, tmp_path) -> None:
    loaded = load_model(checkpoint("gemma2"))
    out = save(loaded.model, tmp_path / "out", layout=loaded.layout, dtype=torch.bfloat16)
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    again = load_model(out)
    assert again.dtype == torch.bfloat16
    assert torch.equal(again.model.embed.weight, loaded.model.embed.weight.bfloat16())


def test_changed_weights_are_the_ones_written(checkpoint, tmp_path) -> None:
    loaded = load_model(checkpoint("gemma3-vision"))
    with torch.no_grad():
        loaded.model.embed.weight.fill_(0.5)
    again = load_model(save(loaded.model, tmp_path / "out", layout=loaded.layout))
    assert torch.all(again.model.embed.weight == 0.5)


def test_a_folder_in_use_is_refused_unless_told(checkpoint, tmp_path) -> None:
    folder = checkpoint("gemma1")
    loaded = load_model(folder)
    with pytest.raises(UserError, match="not empty"):
        save(loaded.model, folder, layout=loaded.layout)
    before = weights(folder)
    save(loaded.model, folder, layout=loaded.layout, overwrite=True)  # even over its own source
    assert weights(folder) == before


def test_overwriting_spares_what_is_no_checkpoint(tmp_path) -> None:
    (tmp_path / "home" / "letters").mkdir(parents=True)
    with pytest.raises(UserError, match="not a checkpoint folder"):
        save(fresh("gemma-2b"), tmp_path / "home", overwrite=True)
    assert (tmp_path / "home" / "letters").is_dir()


def test_a_failed_write_leaves_nothing_behind(tmp_path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        save(fresh("gemma-2b"), tmp_path / "out", extras=[tmp_path / "absent"])
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_changed_is_noticed(checkpoint, tmp_path) -> None:
    folder = checkpoint("gemma3-vision")
    loaded = load_model(folder)
    shutil.copyfile(checkpoint("gemma3") / SINGLE, folder / SINGLE)
    with pytest.raises(UserError, match="has changed"):
        save(loaded.model, tmp_path / "out", layout=loaded.layout)


def test_the_layout_of_another_model_is_a_programming_error(checkpoint, tmp_path) -> None:
    layout = load_model(checkpoint("gemma2")).layout
    with pytest.raises(ValueError, match=r"another (width|layers|vocab)"):
        save(fresh("gemma-2-2b"), tmp_path / "out", layout=layout)


# ---------------------------------------------------------------------------------------------------------------------
# With a tower


def with_tower() -> tuple[Decoder, Tower]:
    """A decoder and a tower that no folder has seen, awake."""
    tower = Tower(SEEN, TINY["gemma-3-4b"]["width"])
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.normal_(0.0, 0.3)
    return fresh("gemma-3-4b"), tower


def test_a_fresh_tower_is_written_under_the_released_names(tmp_path) -> None:
    model, tower = with_tower()
    out = save(model, tmp_path / "out", tower=tower)
    names = set(safetensors.torch.load_file(out / SINGLE))
    assert "language_model.model.embed_tokens.weight" in names
    assert "vision_tower.vision_model.encoder.layers.1.mlp.fc2.bias" in names
    assert "multi_modal_projector.mm_input_projection_weight" in names
    assert len(names) == len(list(model.parameters())) + len(list(tower.parameters()))


def test_a_fresh_tower_comes_back_and_transformers_misses_nothing(tmp_path) -> None:
    model, tower = with_tower()
    out = save(model, tmp_path / "out", tower=tower)
    found = load_tower(out)
    assert found.spec == SEEN
    assert all(torch.equal(a, b) for a, b in zip(tower.parameters(), found.parameters(), strict=True))
    kind: Any = transformers.Gemma3ForConditionalGeneration
    _, told = kind.from_pretrained(out, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]


def test_a_fresh_tower_brings_the_settings_of_its_pictures(tmp_path) -> None:
    model, tower = with_tower()
    out = save(model, tmp_path / "out", tower=tower, documents={"processor_config.json": {"image_seq_length": 4}})
    found = read_processor(out)
    assert (found.side, found.tokens) == (SEEN.tower.image, SEEN.tokens)
    assert json.loads((out / "processor_config.json").read_text()) == {"image_seq_length": 4}  # what was given counts


def test_a_fresh_tower_keeps_its_own_dtype_unless_one_is_asked_for(tmp_path) -> None:
    model, tower = with_tower()
    own = safetensors.torch.load_file(save(model, tmp_path / "own", tower=tower.bfloat16()) / SINGLE)
    kinds = {name.split(".")[0]: value.dtype for name, value in own.items()}
    assert kinds == {
        "language_model": torch.float32,
        "vision_tower": torch.bfloat16,
        "multi_modal_projector": torch.bfloat16,
    }
    asked = save(model, tmp_path / "asked", tower=tower, dtype=torch.bfloat16)
    assert {value.dtype for value in safetensors.torch.load_file(asked / SINGLE).values()} == {torch.bfloat16}


@pytest.mark.parametrize("given", [True, False], ids=["with its tower", "without"])
def test_an_asked_dtype_is_that_of_the_vision_half_where_its_tower_is_given(checkpoint, tmp_path, edit, given) -> None:
    folder = checkpoint("gemma3-vision", torch.float32)
    edit(folder / "config.json", lambda tree: tree["vision_config"].update(dtype="float32"))
    loaded, tower = load_model(folder), load_tower(folder)
    out = save(
        loaded.model,
        tmp_path / "out",
        tower=tower if given else None,
        layout=loaded.layout,
        dtype=torch.bfloat16,
    )
    word = "bfloat16" if given else "float32"
    assert json.loads((out / "config.json").read_text())["vision_config"]["dtype"] == word
    held = safetensors.torch.load_file(out / SINGLE)
    assert {value.dtype for name, value in held.items() if "vision" in name} == {getattr(torch, word)}
    assert {value.dtype for name, value in held.items() if "language" in name} == {torch.bfloat16}


def test_a_tower_does_not_go_into_a_text_model_s_layout(checkpoint, tmp_path) -> None:
    loaded = load_model(checkpoint("gemma3"))
    with pytest.raises(ValueError, match="no vision half"):
        save(loaded.model, tmp_path / "out", layout=loaded.layout, tower=Tower(SEEN, loaded.spec.width))


def test_another_model_s_tower_is_refused(checkpoint, tmp_path) -> None:
    folder = checkpoint("gemma3-vision")
    loaded = load_model(folder)
    wide = Tower(load_tower(folder).spec, loaded.spec.width + 8)
    with pytest.raises(ValueError, match="leads to a decoder of width 40"):
        save(loaded.model, tmp_path / "out", layout=loaded.layout, tower=wide)
    with pytest.raises(ValueError, match="another vision"):
        other = replace(SEEN, tower=replace(SEEN.tower, heads=3))
        save(loaded.model, tmp_path / "out", layout=loaded.layout, tower=Tower(other, loaded.spec.width))
    assert not (tmp_path / "out").exists()
