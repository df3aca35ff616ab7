"""From a name to a model: dtypes, devices, and what is said on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.errors import UserError
from gemwright.loading import choose_device, choose_dtype, load_model
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.weights.save import save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = Decoder(preset("gemma-3-1b", width=16, depth=6, heads=2, head_dim=8, hidden=24, vocab=40))
    initialise(model, torch.Generator().manual_seed(0))
    return save(model, tmp_path / "tiny", dtype=torch.bfloat16)


def test_auto_keeps_the_file_s_dtype(folder) -> None:
    loaded = load_model(folder)
    assert loaded.dtype == loaded.model.dtype == torch.bfloat16
    assert loaded.notes == () and loaded.left == {}
    assert loaded.folder == folder and loaded.layout is not None and loaded.spec == loaded.model.spec


@pytest.mark.parametrize(("word", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_dtype_may_be_a_word(folder, word, dtype) -> None:
    assert load_model(str(folder), dtype=word).model.dtype == dtype


def test_rounding_is_told_and_a_wider_dtype_is_not(folder, tmp_path) -> None:
    wide = save(load_model(folder, dtype="float32").model, tmp_path / "wide")
    assert load_model(wide).notes == load_model(folder, dtype="float32").notes == ()
    (note,) = load_model(wide, dtype="bfloat16").notes
    assert "float32" in note and "rounded to bfloat16" in note and "model.embed_tokens.weight" in note


@pytest.mark.parametrize("asked", ["float16", torch.float16, "half"])
def test_float16_is_refused_with_its_reason(folder, asked) -> None:
    with pytest.raises(UserError, match="65,504"):
        load_model(folder, dtype=asked)


@pytest.mark.parametrize("asked", ["int3", torch.int8, "float64"])
def test_a_dtype_that_no_model_runs_in_is_refused(folder, asked) -> None:
    with pytest.raises(UserError, match="cannot run in"):
        load_model(folder, dtype=asked)


def test_a_float16_file_becomes_float32_and_says_so(folder, tmp_path) -> None:
    loaded = load_model(folder)
    half = save(loaded.model, tmp_path / "half", dtype=torch.float16)
    again = load_model(half)
    assert again.dtype == torch.float32 and "float16" in again.notes[0]
    assert (save(again.model, tmp_path / "back", layout=again.layout) / "model.safetensors").read_bytes() == (
        half / "model.safetensors"
    ).read_bytes()


def test_a_float16_file_becomes_bfloat16_on_an_accelerator() -> None:
    notes: list[str] = []
    assert choose_dtype("auto", torch.float16, torch.device("cuda"), notes) == torch.bfloat16 and len(notes) == 1


def test_devices_are_words() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(UserError, match="toaster"):
        choose_device("toaster")
    with pytest.raises(UserError, match="mps"):
        choose_device("mps")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_cuda_without_a_device_is_refused() -> None:
    with pytest.raises(UserError, match="no CUDA"):
        choose_device("cuda")


def test_a_loaded_model_is_whole_and_ready(folder) -> None:
    model = load_model(folder).model
    assert not model.training
    assert all(parameter.device.type == "cpu" and parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("broken", ["absent", "a file", "empty"])
def test_what_is_no_checkpoint_is_refused(tmp_path, broken) -> None:
    path = tmp_path / broken
    if broken == "a file":
        path.write_text("hello")
    if broken == "empty":
        path.mkdir()
    with pytest.raises(UserError, match=broken):
        load_model(path)


def test_a_scheme_brings_its_own_dtype_and_takes_no_other(tmp_path) -> None:
    model = Decoder(preset("gemma-3-1b", width=32, depth=2, heads=2, head_dim=16, hidden=32, vocab=40))
    initialise(model, torch.Generator().manual_seed(0))
    wide = save(model, tmp_path / "wide")
    assert load_model(wide).dtype == torch.float32
    assert load_model(wide, quant="q8_0").dtype == torch.bfloat16
    with pytest.raises(UserError, match="not in float32"):
        load_model(wide, quant="q8_0", dtype="float32")
    with pytest.raises(UserError, match="'q3_k'"):
        load_model(tmp_path / "nothing", quant="q3_k")


def test_a_form_without_kernels_is_said_to_be_slow(tmp_path) -> None:
    model = Decoder(preset("gemma-3-1b", width=32, depth=2, heads=2, head_dim=16, hidden=32, vocab=40))
    initialise(model, torch.Generator().manual_seed(0))
    plain = save(model, tmp_path / "plain", dtype=torch.bfloat16)
    (note,) = load_model(plain, quant="sfp8", device="cpu").notes
    assert "no kernels for sfp8" in note and load_model(plain, quant="q8_0", device="cpu").notes == ()


def test_rows_that_cannot_be_cut_into_groups_are_not_quantised(folder) -> None:
    assert load_model(folder, packed=True).model.embed.weight.dtype == torch.bfloat16
    with pytest.raises(UserError, match="whole groups of 32"):
        load_model(folder, quant="q8_0")
