"""Multimodal checkpoints through the command line: converted, checked, inspected and planned with their vision half."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from gemwright.arch.presets import preset
from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.loading import load_model, load_tower
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.planner.fit import plan
from gemwright.weights.save import save

SEEN = Vision(tower=Encoder(image=28, patch=7, width=24, hidden=40, heads=2, depth=2, norm_epsilon=1e-6), tokens=4)
SIZES = {
    **{"width": 64, "depth": 3, "heads": 2, "kv_heads": 1, "head_dim": 32, "hidden": 96, "vocab": 320, "window": 8},
    **{"query_scalar": 32.0, "context": 256},
}
TOWER = sum(parameter.numel() for parameter in Tower(SEEN, 64).parameters())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A multimodal folder in bfloat16."""
    model, tower = Decoder(preset("gemma-3-4b", **SIZES)), Tower(SEEN, 64)
    with torch.no_grad():
        for parameter in (*model.parameters(), *tower.parameters()):
            parameter.normal_(0.0, 0.3)
    return save(model, tmp_path / "folder", tower=tower, dtype=torch.bfloat16)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


def test_a_checked_copy_is_equal_to_the_byte(cli: Callable, folder: Path, tmp_path: Path) -> None:
    ended = cli("convert", folder, "--out", tmp_path / "out", "--check")
    count = len(tensors(folder))
    assert ended.code == 0 and f"{count} tensors, none lost, none added; {count} equal to the byte\n" in ended.out
    assert (tmp_path / "out" / "preprocessor_config.json").exists()


def test_another_dtype_is_that_of_both_halves(cli: Callable, folder: Path, tmp_path: Path) -> None:
    tree = cli("convert", folder, "--out", tmp_path / "out", "--dtype", "float32", "--check", "--json").json
    count = len(tensors(folder))
    assert tree["check"] == {"tensors": count, "equal": 0, "recast": count}
    assert {value.dtype for value in tensors(tmp_path / "out").values()} == {torch.float32}


def test_a_copy_that_lacks_a_tensor_does_not_pass(
    cli: Callable, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gemwright.weights import manifest as module

    whole = module.manifest

    def short(path: Path) -> module.Manifest:
        rows = dict(whole(path))
        if path.name == "out":
            del rows["multi_modal_projector.mm_soft_emb_norm.weight"]
        return rows

    monkeypatch.setattr(module, "manifest", short)
    ended = cli("convert", folder, "--out", tmp_path / "out", "--check")
    assert ended.code == 2 and "1 tensors" in ended.err and "mm_soft_emb_norm" in ended.err


def test_only_folders_are_checked(cli: Callable, folder: Path, tmp_path: Path) -> None:
    ended = cli("convert", folder, "--out", tmp_path / "x.gguf", "--check")
    assert ended.code == 2 and "--check compares folders" in ended.err
    assert cli("convert", folder, "--out", tmp_path / "x.gguf").code == 0
    ended = cli("convert", tmp_path / "x.gguf", "--out", tmp_path / "out", "--check")
    assert ended.code == 2 and "another format" in ended.err and not (tmp_path / "out").exists()


def test_both_halves_go_out_as_gguf_and_come_back(cli: Callable, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "gguf").mkdir()
    ended = cli("convert", folder, "--out", tmp_path / "gguf" / "x.gguf", "--json")
    assert ended.json["vision"] == str(tmp_path / "gguf" / "mmproj-x.gguf") and not ended.json["left"]
    back = cli("convert", tmp_path / "gguf" / "x.gguf", "--out", tmp_path / "back", "--dtype", "bfloat16")
    assert back.code == 0 and "of its vision half" in back.out
    before, after = tensors(folder), tensors(tmp_path / "back")
    assert before.keys() == after.keys()
    for name, value in before.items():
        # RMSNorms go through float32 with 1 added; SigLIP's LayerNorms do not.
        shifted = name.endswith("norm.weight") and "vision_tower" not in name
        assert torch.equal((value.float() + 1 - 1).bfloat16() if shifted else value, after[name]), name
    assert load_tower(tmp_path / "back").spec == SEEN


def test_few_bits_for_the_text_leave_the_tower_whole(cli: Callable, folder: Path, tmp_path: Path) -> None:
    assert cli("convert", folder, "--out", tmp_path / "q.gguf", "--type", "q4_0").code == 0
    one, other = load_tower(folder, dtype="float32"), load_tower(tmp_path / "q.gguf", dtype="float32")
    assert torch.equal(one.encoder.positions, other.encoder.positions)
    name = "layers.1.mlp.down.weight"
    assert torch.equal(one.encoder.get_parameter(name), other.encoder.get_parameter(name))


def test_a_quantised_folder_keeps_the_tower_whole(cli: Callable, folder: Path, tmp_path: Path) -> None:
    ended = cli("quantize", folder, "--quant", "int4", "--out", tmp_path / "q")
    assert ended.code == 0 and "left out" not in ended.err
    one, other = load_tower(folder), load_tower(tmp_path / "q")
    assert other.spec == SEEN and other.dtype == torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert load_model(tmp_path / "q").spec.vision == SEEN


def test_a_vision_half_that_is_there_is_not_replaced_unasked(cli: Callable, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mmproj-x.gguf").write_bytes(b"precious")
    ended = cli("convert", folder, "--out", tmp_path / "x.gguf")
    assert ended.code == 2 and "mmproj-x.gguf is there already" in ended.err
    assert not (tmp_path / "x.gguf").exists() and (tmp_path / "mmproj-x.gguf").read_bytes() == b"precious"
    assert cli("convert", folder, "--out", tmp_path / "x.gguf", "--overwrite").code == 0


def test_a_vision_half_that_cannot_be_read_stays_behind_with_a_note(
    cli: Callable, folder: Path, tmp_path: Path
) -> None:
    tree = json.loads((folder / "preprocessor_config.json").read_text()) | {"resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(tree))
    ended = cli("convert", folder, "--out", tmp_path / "x.gguf")
    assert ended.code == 0 and "no vision half is converted" in ended.err and "resample" in ended.err
    assert not (tmp_path / "mmproj-x.gguf").exists()
    shown = cli("inspect", folder)
    assert shown.code == 0 and "resample" in shown.out


def test_inspect_and_plan_name_the_tower_of_a_folder_and_of_a_gguf_file(
    cli: Callable, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.gguf"
    assert cli("convert", folder, "--out", path).code == 0
    for where in (folder, path):
        assert cli("inspect", where, "--json").json["spec"]["vision"]["tower"]["image"] == 28
        assert "28×28 pixels → 4 tokens" in cli("inspect", where).out
        assert plan(where, context=64).vision == 2 * TOWER
    files = cli("inspect", path, "--json").json["files"]
    assert [file["name"] for file in files] == ["x.gguf", "mmproj-x.gguf"]
    (tmp_path / "mmproj-x.gguf").unlink()
    assert cli("inspect", path, "--json").json["spec"]["vision"] is None
    assert plan(path, context=64).vision == 0


def test_a_vision_half_alone_says_what_it_is(cli: Callable, folder: Path, tmp_path: Path) -> None:
    assert cli("convert", folder, "--out", tmp_path / "x.gguf").code == 0
    ended = cli("inspect", tmp_path / "mmproj-x.gguf")
    assert ended.code == 2 and "vision half of a model" in ended.err
