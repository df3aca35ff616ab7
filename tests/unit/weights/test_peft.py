"""Adapter folders: what is read, what is refused and what is said, without PEFT; tests/parity has PEFT itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.linear import Linear
from gemwright.ops.low_rank import Adapter, LowRank
from gemwright.weights.peft import our_target, read, write

TINY = "gemma-3-1b"
FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
DEEP = "base_model.model.model.layers.2.mlp.up_proj.lora_B.weight"


def adapter_for(model: Decoder, *words: str, rank: int = 4) -> Adapter:
    linears = {path: module for path, module in model.named_modules() if isinstance(module, Linear)}
    modules = {
        path: LowRank(
            a=torch.randn(rank, module.in_features), b=torch.randn(module.out_features, rank), alpha=6.0, rslora=False
        )
        for path, module in linears.items()
        if not words or path.endswith(words)
    }
    return Adapter(modules=modules, dropout=0.0, base="google/gemma")


@pytest.fixture
def folder(tmp_path: Path, tiny: Callable[[str], Decoder]) -> Path:
    model = tiny(TINY)
    return write(tmp_path / "adapter", model.spec, adapter_for(model, "query", "up"))


def change(folder: Path, **config: object) -> Path:
    tree = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(tree | config))
    return folder


def rename(folder: Path, act: Callable[[dict[str, Tensor]], Any]) -> Path:
    tensors = load_file(folder / "adapter_model.safetensors")
    act(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def refused(folder: Path, model: Decoder) -> UserError:
    with pytest.raises(UserError) as caught:
        read(folder, model.spec)
    assert str(folder) in caught.value.message and caught.value.hint
    return caught.value


def test_what_was_written_is_read_bit_for_bit(tmp_path: Path, tiny: Callable, family: str) -> None:
    model = tiny(family)
    adapter = adapter_for(model)
    found = read(write(tmp_path / "adapter", model.spec, adapter), model.spec)
    assert found.notes == () and found.adapter.base == "google/gemma"
    assert list(found.adapter.modules) == list(adapter.modules)
    for path, pair in found.adapter.modules.items():
        assert torch.equal(pair.a, adapter.modules[path].a) and torch.equal(pair.b, adapter.modules[path].b)
        assert pair.scale == 1.5


def test_bfloat16_tensors_become_float32(folder: Path, tiny: Callable) -> None:
    rename(folder, lambda tensors: tensors.update({name: value.bfloat16() for name, value in tensors.items()}))
    assert {pair.a.dtype for pair in read(folder, tiny(TINY).spec).adapter.modules.values()} == {torch.float32}


@pytest.mark.parametrize("prefix", ["", "language_model.model.", "model.language_model."])
def test_every_generation_of_prefixes_is_known(folder: Path, tiny: Callable, prefix: str) -> None:
    before = read(folder, tiny(TINY).spec).adapter

    def act(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            tensors[name.replace("base_model.model.model.", f"base_model.model.{prefix}")] = tensors.pop(name)

    after = read(rename(folder, act), tiny(TINY).spec).adapter
    assert before.modules.keys() == after.modules.keys()


# ------------------------------------------------------------------------------------------------------------ matching


@pytest.mark.parametrize(
    ("old", "new"), [("self_attn.q_proj", "self_attn.query_proj"), ("layers.0", "layers.7"), ("lora_A", "lora_C")]
)
def test_a_tensor_without_a_module_is_named_with_the_nearest(folder: Path, tiny: Callable, old: str, new: str) -> None:
    wrong = FIRST.replace(old, new)
    error = refused(rename(folder, lambda tensors: tensors.update({wrong: tensors.pop(FIRST)})), tiny(TINY))
    assert "1 tensors have no module" in error.message and wrong in error.message
    assert "1 tensors are missing" in error.message and FIRST in error.message
    assert f'"{wrong}" may be "{FIRST}"' in error.hint


def test_a_tensor_that_is_missing_is_named(folder: Path, tiny: Callable) -> None:
    error = refused(rename(folder, lambda tensors: tensors.pop(DEEP)), tiny(TINY))
    assert "1 tensors are missing" in error.message and DEEP in error.message


def test_no_match_at_all_is_an_error(folder: Path, tiny: Callable) -> None:
    def act(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            tensors[name.replace("base_model.model.", "")] = tensors.pop(name)

    error = refused(rename(folder, act), tiny(TINY))
    assert "28 tensors have no module" in error.message and "28 tensors are missing" in error.message
    assert '"model.layers.0.mlp.up_proj.lora_A.weight" may be "base_model.model.model.layers.0.mlp' in error.hint


def test_an_empty_file_of_tensors_is_an_error(folder: Path, tiny: Callable) -> None:
    assert "28 tensors are missing" in refused(rename(folder, lambda tensors: tensors.clear()), tiny(TINY)).message


def test_a_configured_target_without_a_module_is_named_with_the_nearest(folder: Path, tiny: Callable) -> None:
    error = refused(change(folder, target_modules=["q_proj", "up_proj", "gate_prj"]), tiny(TINY))
    assert '"gate_prj"' in error.message and '"gate_prj" may be "gate_proj"' in error.hint


def test_a_configured_module_without_tensors_is_named(folder: Path, tiny: Callable) -> None:
    error = refused(change(folder, target_modules=["q_proj", "up_proj", "gate_proj"]), tiny(TINY))
    assert "14 tensors are missing" in error.message and "gate_proj" in error.message


def test_tensors_that_the_config_does_not_name_are_refused(folder: Path, tiny: Callable) -> None:
    error = refused(change(folder, target_modules=["q_proj"]), tiny(TINY))
    assert "14 tensors have no module that is to be adapted" in error.message


def test_an_adapter_for_another_family_is_refused(folder: Path, tiny: Callable) -> None:
    error = refused(folder, tiny("recurrentgemma-2b"))
    assert "q_proj" in error.message and "missing" in error.message


def test_two_tensors_for_one_module_are_refused(folder: Path, tiny: Callable) -> None:
    twin = FIRST.replace("model.model.", "model.")
    error = refused(rename(folder, lambda tensors: tensors.update({twin: tensors[FIRST].clone()})), tiny(TINY))
    assert FIRST in error.message and twin in error.message


def test_tensors_of_the_vision_half_stay_in_the_file_and_that_is_said(folder: Path, tiny: Callable) -> None:
    name = "base_model.model.model.vision_tower.encoder.layers.0.self_attn.q_proj.lora_A.weight"
    rename(folder, lambda tensors: tensors.update({name: torch.ones(4, 8)}))
    (note,) = read(folder, tiny(TINY).spec).notes
    assert "1 tensors" in note and "vision" in note


def test_a_shape_that_does_not_fit_is_named(folder: Path, tiny: Callable) -> None:
    for act in (
        lambda: rename(folder, lambda tensors: tensors.update({FIRST: torch.ones(4, 63)})),
        lambda: change(rename(folder, lambda tensors: tensors.update({FIRST: torch.ones(4, 64)})), r=8),
    ):
        act()
        assert FIRST in refused(folder, tiny(TINY)).message


def test_an_adapter_that_changes_nothing_says_so(tmp_path: Path, tiny: Callable) -> None:
    model = tiny(TINY)
    adapter = adapter_for(model, "query")
    for pair in adapter.modules.values():
        pair.b.zero_()
    (note,) = read(write(tmp_path / "idle", model.spec, adapter), model.spec).notes
    assert "changes nothing" in note


# ------------------------------------------------------------------------------------------------------------- config


@pytest.mark.parametrize(
    "config",
    [
        {"peft_type": "ADALORA"},
        {"bias": "lora_only"},
        {"use_dora": True},
        {"fan_in_fan_out": True},
        {"modules_to_save": ["embed_tokens"]},
        {"layer_replication": [[0, 4], [2, 5]]},
        {"trainable_token_indices": [1, 2]},
        {"target_parameters": ["experts.gate"]},
        {"use_something_new": True},
        {"init_lora_weights": "pissa_niter_4"},
        {"alpha_pattern": {"(a+)+": 3}},
        {"alpha_pattern": {"q_proj": "many"}},
        {"rank_pattern": {"q_proj": 2.5}},
        {"layers_to_transform": [0, "1"]},
        {"layers_to_transform": [0], "layers_pattern": "blocks"},
        {"target_modules": "(q_proj"},
        {"target_modules": []},
        {"lora_dropout": 1.5},
        {"lora_alpha": -1},
        {"r": 0},
    ],
    ids=str,
)
def test_a_config_that_is_no_plain_lora_is_refused_by_its_key(
    folder: Path, tiny: Callable, config: dict[str, object]
) -> None:
    key = list(config)[-1]
    assert key in refused(change(folder, **config), tiny(TINY)).message


def test_keys_that_nobody_knows_are_told_and_empty_ones_are_not(folder: Path, tiny: Callable) -> None:
    change(folder, novelty={"depth": 3}, other=None, more=[], use_more=False, corda_config=None)
    (note,) = read(folder, tiny(TINY).spec).notes
    assert "novelty" in note and "other" not in note and "more" not in note


def test_a_pattern_that_means_no_module_is_named(folder: Path, tiny: Callable) -> None:
    assert "k_prj" in refused(change(folder, rank_pattern={"k_prj": 4}), tiny(TINY)).message


# -------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_files_that_are_missing_or_damaged_are_named(folder: Path, tiny: Callable, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-3])
    assert name in refused(folder, tiny(TINY)).message
    (folder / name).unlink()
    assert name in refused(folder, tiny(TINY)).message


def test_torch_s_old_file_is_refused_with_a_way_out(folder: Path, tiny: Callable) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert "safetensors" in refused(folder, tiny(TINY)).hint


def test_a_folder_that_is_not_empty_is_not_written_over(folder: Path, tiny: Callable) -> None:
    model = tiny(TINY)
    with pytest.raises(UserError, match="not empty"):
        write(folder, model.spec, adapter_for(model))


def test_an_adapter_of_other_modules_is_not_written(tmp_path: Path, tiny: Callable) -> None:
    adapter = adapter_for(tiny("recurrentgemma-2b"), "linear_x")
    with pytest.raises(ValueError, match="linear_x"):
        write(tmp_path / "adapter", tiny(TINY).spec, adapter)
    with pytest.raises(ValueError, match="no module"):
        write(tmp_path / "adapter", tiny(TINY).spec, Adapter(modules={}, dropout=0.0, base=None))


@pytest.mark.parametrize(
    ("word", "ours"),
    [
        ("q_proj", "query"),
        ("mlp.down_proj", "mlp.down"),
        ("self_attn.o_proj", "mixer.out"),
        ("model.layers.3.self_attn.v_proj", "layers.3.mixer.value"),
        ("layers.3.mlp.up_proj", "layers.3.mlp.up"),
        ("query", "query"),
        ("all-linear", "all-linear"),
        ("nonsense", "nonsense"),
    ],
)
def test_names_of_transformers_are_targets_here(word: str, ours: str) -> None:
    assert our_target("gemma3", word) == ours
