"""Folders in, the same folders out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers

from gemwright.arch.presets import preset
from gemwright.errors import UserError
from gemwright.loading import load_model
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.weights.folder import INDEX, SINGLE
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
