"""Quantised folders: what is written is what would be packed on load, and what is damaged is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import gemwright
from gemwright.arch.presets import preset
from gemwright.errors import UserError
from gemwright.loading import load_model, open_checkpoint
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.ops.matmul import Form, decode, encode
from gemwright.quant.scheme import SCHEMES, scheme
from gemwright.quant.swap import empty_matrices
from gemwright.weights.quantised import pack_nibbles, unpack_nibbles
from gemwright.weights.quantised_save import save_quantised
from gemwright.weights.save import save

FAMILIES = ("gemma-2b", "gemma-2-2b", "gemma-3-1b", "recurrentgemma-2b")
SIZES = {"width": 64, "depth": 4, "heads": 2, "head_dim": 16, "hidden": 96, "vocab": 90}
IDS = list(range(2, 40))
NAME = "model.layers.1.mlp.up_proj.weight"


def plain(folder: Path, name: str = "gemma-3-1b", dtype: torch.dtype = torch.bfloat16) -> Path:
    """A folder of a model whose norms and biases are awake."""
    more = {"recurrent_width": 64, "gate_blocks": 2} if name.startswith("recurrent") else {"kv_heads": 1}
    model = Decoder(preset(name, **SIZES, **more))
    initialise(model, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.dim() == 1 and "a_param" not in key:
                parameter.normal_(0.0, 0.4)
    return save(model, folder, dtype=dtype)


def forms_of(folder: Path, name: str) -> dict[str, Form]:
    with torch.device("meta"):
        model = Decoder(open_checkpoint(folder).spec)
    return {name: matrix.form for name, matrix in empty_matrices(model, scheme(name), "meta").items()}


def quantised(source: Path, folder: Path, name: str, **options: Any) -> Path:
    opened = open_checkpoint(source)
    forms = forms_of(source, name)
    save_quantised(folder, opened.spec, opened.source, opened.names, scheme=name, forms=forms, **options)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in int4, beside a table in int8."""
    return quantised(plain(tmp_path / "plain"), tmp_path / "int4", "int4")


def rewritten(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.torch.save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_quantised_folder_has_the_logits_of_rounding_on_load_to_the_bit(
    tmp_path: Path, family: str, name: str
) -> None:
    source = plain(tmp_path / "plain", family)
    written = quantised(source, tmp_path / name, name)
    assert torch.equal(gemwright.load(written).logits(IDS), gemwright.load(source, quant=name).logits(IDS))


def test_float32_is_rounded_once(tmp_path: Path) -> None:
    """Not by way of bfloat16."""
    source = plain(tmp_path / "plain", dtype=torch.float32)
    written = quantised(source, tmp_path / "q", "q8_0")
    tensor = safetensors.torch.load_file(source / "model.safetensors")[NAME]
    assert torch.equal(open_checkpoint(written).source.view(NAME), decode(*encode(tensor, "q8_0"), "q8_0"))
    assert torch.equal(gemwright.load(written).logits(IDS), gemwright.load(source, quant="q8_0").logits(IDS))


def test_widened_weights_are_the_packed_values(tmp_path: Path, folder: Path) -> None:
    weights = safetensors.torch.load_file(tmp_path / "plain" / "model.safetensors")
    loaded = load_model(folder, dtype="float32")
    assert torch.equal(
        loaded.model.get_parameter("layers.1.mlp.up.weight"), decode(*encode(weights[NAME], "int4"), "int4")
    )
    table = decode(*encode(weights["model.embed_tokens.weight"], "int8"), "int8")
    assert torch.equal(loaded.model.get_parameter("embed.weight"), table)
    assert loaded.layout is None


def test_a_plain_load_says_in_which_forms_the_file_is(folder: Path) -> None:
    (note,) = load_model(folder).notes
    assert note == "28 int4, 1 int8 tensors are held as bfloat16"
    assert gemwright.load(folder).notes == ()


def test_the_file_holds_what_the_format_says(folder: Path) -> None:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    assert tensors[NAME].dtype == torch.uint8 and tensors[NAME].shape == (96, 32)
    assert tensors[NAME + ".scales"].dtype == torch.float32 and tensors[NAME + ".scales"].shape == (96,)
    assert tensors["model.norm.weight"].dtype == torch.bfloat16
    said = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert said["quant_method"] == "gemwright" and said["scheme"] == "int4"
    assert said["forms"][NAME] == "int4" and said["forms"]["model.embed_tokens.weight"] == "int8"


def test_bfloat16_alone_makes_an_ordinary_folder(tmp_path: Path) -> None:
    source = plain(tmp_path / "plain")
    written = quantised(source, tmp_path / "q", "bf16")
    ours, theirs = (safetensors.torch.load_file(path / "model.safetensors") for path in (written, source))
    assert "quantization_config" not in json.loads((written / "config.json").read_text())
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_form_that_is_kept_is_copied_to_the_byte(tmp_path: Path, folder: Path) -> None:
    again = quantised(folder, tmp_path / "again", "int4")
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_files_beside_the_weights_come_along(tmp_path: Path) -> None:
    source = plain(tmp_path / "plain")
    (tmp_path / "notes.txt").write_text("to the byte")
    documents = {"generation_config.json": {"eos_token_id": [1, 6]}}
    written = quantised(source, tmp_path / "q", "q4_0", extras=[tmp_path / "notes.txt"], documents=documents)
    assert (written / "notes.txt").read_text() == "to the byte"
    assert json.loads((written / "generation_config.json").read_text()) == documents["generation_config.json"]


def test_what_the_text_model_does_not_use_is_left_and_told(tmp_path: Path) -> None:
    source = plain(tmp_path / "plain")
    rewritten(source, lambda tensors: tensors.update({"vision_tower.0.weight": torch.ones(4)}))
    opened = open_checkpoint(source)
    left = save_quantised(
        tmp_path / "q", opened.spec, opened.source, opened.names, scheme="int8", forms=forms_of(source, "int8")
    )
    assert list(left.values()) == [("vision_tower.0.weight",)]
    assert "vision_tower.0.weight" not in open_checkpoint(tmp_path / "q").source.names()


def test_a_folder_that_is_there_is_not_replaced_unasked(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="not empty"):
        quantised(tmp_path / "plain", folder, "q8_0")
    quantised(tmp_path / "plain", folder, "q8_0", overwrite=True)
    assert open_checkpoint(folder).forms["embed.weight"] == "q8_0"


def test_two_codes_in_a_byte_come_out_again() -> None:
    codes = torch.arange(-8, 8, dtype=torch.int8).repeat(3).view(3, 16)
    packed = pack_nibbles(codes)
    assert packed.shape == (3, 8) and torch.equal(unpack_nibbles(packed), codes)
    assert packed[0, 0] == 0x98  # -8 in the low half, -7 in the high one


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quant_method": "gptq"}, "gptq"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"bits": 4}, "null"),
        ("int4", "int4"),
        ({"quant_method": "gemwright"}, "no forms"),
        ({"quant_method": "gemwright", "forms": [NAME]}, "no forms"),
        ({"quant_method": "gemwright", "forms": {NAME: "int3"}}, "int3"),
        ({"quant_method": "gemwright", "forms": {NAME: 4}}, "form 4"),
        ({"quant_method": "gemwright", "forms": {"model.nothing.weight": "int4"}}, "model.nothing.weight"),
        ({"quant_method": "gemwright", "forms": {"model.norm.weight": "int4"}}, "model.norm.weight"),
        ({"quant_method": "gemwright", "forms": {NAME: "q4_0"}}, "rows of q4_0"),
        ({"quant_method": "gemwright", "forms": {NAME: "int8"}}, "unknown"),
    ],
)
def test_a_foreign_or_damaged_quantisation_is_named(folder: Path, edit: Any, changes: Any, said: str) -> None:
    edit(folder / "config.json", lambda tree: tree.update(quantization_config=changes))
    with pytest.raises(UserError, match=said):
        gemwright.load(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop(NAME + ".scales"), "lacks its 96 scales"),
        (lambda tensors: tensors.update({NAME + ".scales": torch.ones(95)}), "lacks its 96 scales"),
        (lambda tensors: tensors.update({NAME + ".scales": torch.ones(96).half()}), "lacks its 96 scales"),
        (lambda tensors: tensors.update({NAME: torch.ones(96, 64)}), "rows of int4"),
        (lambda tensors: tensors.update({NAME: tensors[NAME][:, :31].clone()}), r"\[96, 62\]"),
        (lambda tensors: tensors.pop(NAME), "is not there"),
        (lambda tensors: tensors.update({"model.norm.weight.scales": torch.ones(64)}), "1 tensors are unknown"),
    ],
)
def test_tensors_that_are_not_what_the_config_says_are_named(folder: Path, change: Any, said: str) -> None:
    rewritten(folder, change)
    with pytest.raises(UserError, match=said):
        gemwright.load(folder)


def test_a_folder_whose_config_lost_its_forms_is_refused(folder: Path, edit: Any) -> None:
    edit(folder / "config.json", lambda tree: tree.pop("quantization_config"))
    with pytest.raises(UserError, match=r"stored as uint8|unknown"):
        gemwright.load(folder)
