"""A manifest tells every tensor's fate, and by it an export of a tuned multimodal model loses none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest
import safetensors.torch
import torch
import transformers
from torch import Tensor

from gemwright.errors import UserError
from gemwright.loading import load_model, load_tower
from gemwright.weights import manifest as subject
from gemwright.weights.folder import SINGLE
from gemwright.weights.manifest import Row, compare, manifest, read_manifest, write_manifest
from gemwright.weights.save import save

Make = Callable[..., Path]
LOOKS = {  # text, encoder and projector in the four layouts in circulation
    "hub": ("language_model.model.", "vision_tower.vision_model.", "multi_modal_projector."),
    "4.5x": ("model.language_model.", "model.vision_tower.vision_model.", "model.multi_modal_projector."),
    "5.x in memory": ("model.language_model.", "model.vision_tower.", "model.multi_modal_projector."),
    "5.x from scratch": ("language_model.model.", "vision_tower.", "multi_modal_projector."),
}
TUNED = {
    "layers.3.mixer.query.weight": "{0}layers.3.self_attn.q_proj.weight",
    "encoder.layers.1.mlp.up.weight": "{1}encoder.layers.1.mlp.fc1.weight",
    "projector.weight": "{2}mm_input_projection_weight",
}


@pytest.fixture
def multimodal(checkpoint: Make) -> Make:
    """A function: a layout and a dtype → a multimodal folder in it."""

    def make(look: str = "hub", dtype: torch.dtype = torch.bfloat16, **options: object) -> Path:
        folder = checkpoint("gemma3-vision", dtype, **options)
        if options:
            return folder
        old, new = LOOKS["5.x from scratch"], LOOKS[look]
        tensors = {}
        for name, value in safetensors.torch.load_file(folder / SINGLE).items():
            before, after = next(pair for pair in zip(old, new, strict=True) if name.startswith(pair[0]))
            tensors[after + name.removeprefix(before)] = value
        safetensors.torch.save_file(tensors, folder / SINGLE, metadata={"format": "pt"})
        return folder

    return make


def tuned_export(folder: Path, out: Path, dtype: str = "auto") -> Path:
    """The folder's model with a text weight, a tower weight and the projection changed, written in its layout."""
    loaded, tower = load_model(folder, dtype=dtype), load_tower(folder, dtype=dtype)
    held = dict(loaded.model.named_parameters()) | dict(tower.named_parameters())
    with torch.no_grad():
        for name in TUNED:
            held[name][0] += 1
    return save(loaded.model, out, tower=tower, layout=loaded.layout)


@pytest.mark.parametrize("look", LOOKS)
def test_a_tuned_model_s_export_changes_what_was_tuned_and_nothing_else(
    multimodal: Make, tmp_path: Path, look: str
) -> None:
    folder = multimodal(look)
    out = tuned_export(folder, tmp_path / "out")
    found = compare(manifest(folder), manifest(out))
    assert set(found.changed) == {name.format(*LOOKS[look]) for name in TUNED.values()}
    assert not found.lost and not found.added and not found.recast


@pytest.mark.parametrize("look", LOOKS)
def test_transformers_loads_the_export_whole_with_what_was_tuned(multimodal: Make, tmp_path: Path, look: str) -> None:
    out = tuned_export(multimodal(look), tmp_path / "out")
    kind: Any = transformers.Gemma3ForConditionalGeneration
    model, told = kind.from_pretrained(out, output_loading_info=True, dtype=torch.bfloat16)
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]
    theirs = dict(model.named_parameters())
    ours = dict(load_model(out).model.named_parameters()) | dict(load_tower(out).named_parameters())
    for name, spelling in TUNED.items():
        assert torch.equal(theirs[spelling.format(*LOOKS["5.x in memory"])], ours[name])


def test_a_stay_in_float32_changes_nothing_else_either(multimodal: Make, tmp_path: Path) -> None:
    folder = multimodal()
    found = compare(manifest(folder), manifest(tuned_export(folder, tmp_path / "out", "float32")))
    assert len(found.changed) == len(TUNED) and not found.lost and not found.added and not found.recast


def test_tensors_that_loading_rounded_are_copied_unless_they_were_tuned(multimodal: Make, tmp_path: Path) -> None:
    folder = multimodal(dtype=torch.float32)
    found = compare(manifest(folder), manifest(tuned_export(folder, tmp_path / "out", "bfloat16")))
    assert len(found.changed) == len(TUNED) and not found.recast


def test_shards_of_a_tuned_model_hold_the_same_tensors(multimodal: Make, tmp_path: Path) -> None:
    folder = multimodal(max_shard_size="20KB")
    out = tuned_export(folder, tmp_path / "out")
    assert {path.name for path in out.iterdir()} == {path.name for path in folder.iterdir()}
    found = compare(manifest(folder), manifest(out))
    assert len(found.changed) == len(TUNED) and not found.lost and not found.added and not found.recast


def test_what_no_gemma_uses_survives_the_export(multimodal: Make, tmp_path: Path) -> None:
    folder = multimodal()
    extra = {
        "vision_tower.vision_model.embeddings.position_ids": torch.arange(16)[None],
        "vision_tower.vision_model.head.probe": torch.ones(1, 1, 24),
    }
    held = safetensors.torch.load_file(folder / SINGLE) | extra
    safetensors.torch.save_file(held, folder / SINGLE, metadata={"format": "pt"})
    out = tuned_export(folder, tmp_path / "out")
    assert {name: row for name, row in manifest(out).items() if name in extra} == {
        name: row for name, row in manifest(folder).items() if name in extra
    }


def test_files_about_pictures_come_along(multimodal: Make, tmp_path: Path) -> None:
    folder = multimodal()
    (folder / "preprocessor_config.json").write_text('{"size": {"height": 28, "width": 28}, "resample": 2}')
    (folder / "processor_config.json").write_text('{"image_seq_length": 4}')
    out = tuned_export(folder, tmp_path / "out")
    for name in ("preprocessor_config.json", "processor_config.json"):
        assert (out / name).read_bytes() == (folder / name).read_bytes()


# ---------------------------------------------------------------------------------------------------------------------
# The manifest itself


def stored(folder: Path, tensors: dict[str, Tensor]) -> Path:
    folder.mkdir()
    safetensors.torch.save_file(tensors, folder / SINGLE)
    return folder


def test_a_row_is_what_the_file_holds(tmp_path: Path) -> None:
    values = {"a": torch.randn(3, 5).bfloat16(), "b": torch.arange(4), "c": torch.tensor(2.5)}
    rows = manifest(stored(tmp_path / "x", values))
    for name, kind in (("a", "BF16"), ("b", "I64"), ("c", "F32")):
        data = values[name].reshape(-1).view(torch.uint8).numpy().tobytes()
        expected = Row(kind=kind, shape=tuple(values[name].shape), sha256=hashlib.sha256(data).hexdigest())
        assert rows[name] == expected


def test_blocks_of_rows_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stored(tmp_path / "x", {"a": torch.randn(64, 16)})
    whole = manifest(folder)
    monkeypatch.setattr(subject, "CHUNK", 3 * 64)
    assert manifest(folder) == whole


def test_the_four_ways_to_differ_are_told_apart(tmp_path: Path) -> None:
    before = {name: torch.randn(2, 2) for name in ("same", "lost", "wider", "longer", "other")}
    after = {
        "same": before["same"],
        "added": torch.ones(1),
        "wider": before["wider"].double(),
        "longer": torch.cat([before["longer"]] * 2),
        "other": before["other"] + 1,
    }
    found = compare(manifest(stored(tmp_path / "a", before)), manifest(stored(tmp_path / "b", after)))
    assert (found.lost, found.added, found.changed) == (("lost",), ("added",), ("other",))
    assert set(found.recast) == {"wider", "longer"}


def test_a_gguf_file_has_a_manifest_too(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "gemma3")
    values = numpy.random.default_rng(0).normal(size=(4, 64)).astype(numpy.float32)
    packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("a", values[0])
    writer.add_tensor("b", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert manifest(tmp_path / "x.gguf") == {
        "a": Row(kind="F32", shape=(64,), sha256=hashlib.sha256(values[0].tobytes()).hexdigest()),
        "b": Row(kind="Q8_0", shape=(4, 64), sha256=hashlib.sha256(packed.tobytes()).hexdigest()),
    }


def test_a_written_manifest_reads_as_itself(tmp_path: Path) -> None:
    rows = manifest(stored(tmp_path / "x", {"a": torch.randn(3, 5), "b": torch.tensor(1.0)}))
    write_manifest(tmp_path / "manifest.json", rows)
    assert read_manifest(tmp_path / "manifest.json") == rows


def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"a": {"kind": "F32", "shape": 3, "sha256": "x"}}))
    with pytest.raises(UserError, match="no row of a manifest"):
        read_manifest(path)
