"""Every tensor of the vision half goes into the tower once, or the file is refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from gemwright.errors import UserError
from gemwright.loading import load_model, load_tower
from gemwright.nn.gemma import Tower
from gemwright.weights.folder import SINGLE, Folder
from gemwright.weights.hf_config import read
from gemwright.weights.safetensors import CODES
from gemwright.weights.save import save
from gemwright.weights.stream import VISION
from gemwright.weights.vision import HEAD, POSITIONS, TEXT, behind, eyes_of, load_tower_into

LOOKS = {  # text, encoder and projector in the four layouts in circulation
    "hub": ("language_model.model.", "vision_tower.vision_model.", "multi_modal_projector."),
    "4.5x": ("model.language_model.", "model.vision_tower.vision_model.", "model.multi_modal_projector."),
    "5.x in memory": ("model.language_model.", "model.vision_tower.", "model.multi_modal_projector."),
    "5.x from scratch": ("language_model.model.", "vision_tower.", "multi_modal_projector."),
}
SCRATCH = LOOKS["5.x from scratch"]
NORM = "vision_tower.post_layernorm.weight"


def tensors_of(folder: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(folder / SINGLE)


def put(folder: Path, tensors: dict[str, Tensor]) -> None:
    safetensors.torch.save_file(tensors, folder / SINGLE, metadata={"format": "pt"})


def respell(tensors: dict[str, Tensor], look: str) -> dict[str, Tensor]:
    """Names of a fresh file of transformers 5 → those of another layout."""

    def renamed(name: str) -> str:
        old, new = next(pair for pair in zip(SCRATCH, LOOKS[look], strict=True) if name.startswith(pair[0]))
        return new + name.removeprefix(old)

    return {renamed(name): value for name, value in tensors.items()}


@pytest.fixture
def folder(checkpoint) -> Path:
    return checkpoint("gemma3-vision")


def refused(folder: Path, *named: str) -> None:
    with pytest.raises(UserError) as caught:
        load_tower(folder)
    for word in named:
        assert word in str(caught.value)


@pytest.mark.parametrize("look", LOOKS)
def test_every_layout_gives_the_same_tower(folder: Path, look: str) -> None:
    plain = dict(load_tower(folder).named_parameters())
    stored = tensors_of(folder)
    put(folder, respell(stored, look))
    found = dict(load_tower(folder).named_parameters())
    assert found.keys() == plain.keys() and all(torch.equal(found[name], plain[name]) for name in plain)
    assert torch.equal(found["encoder.final_norm.weight"], stored[NORM])
    assert torch.equal(found["projector.weight"], stored["multi_modal_projector.mm_input_projection_weight"])


@pytest.mark.parametrize("look", LOOKS)
def test_tower_and_text_share_a_file_between_them(folder: Path, look: str) -> None:
    """What the text model leaves is what the tower reads, and the other way round."""
    put(folder, respell(tensors_of(folder), look))
    source = Folder(folder)
    eyes = eyes_of(read(folder)[0], source)
    paired = load_tower_into(eyes.empty(), eyes)
    text = load_model(folder)
    (left,) = text.left.values()
    assert set(left) == {theirs for _, theirs in paired.pairs}
    assert set(paired.left) == {TEXT} and {*left, *paired.left[TEXT]} == set(source.names())


@pytest.mark.parametrize("look", LOOKS)
def test_a_text_model_s_export_keeps_the_tower(folder: Path, tmp_path: Path, look: str) -> None:
    put(folder, respell(tensors_of(folder), look))
    text, before = load_model(folder), load_tower(folder).state_dict()
    after = load_tower(save(text.model, tmp_path / "out", layout=text.layout)).state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_what_gemma_does_not_use_is_left_by_reason(folder: Path) -> None:
    extra = {
        "vision_tower.embeddings.position_ids": torch.arange(16)[None],
        "vision_tower.head.probe": torch.zeros(1, 1, 24),
        "vision_tower.head.layernorm.weight": torch.zeros(24),
    }
    put(folder, tensors_of(folder) | extra)
    eyes = eyes_of(read(folder)[0], Folder(folder))
    left = load_tower_into(eyes.empty(), eyes).left
    assert left[POSITIONS] == ("vision_tower.embeddings.position_ids",)
    assert left[HEAD] == ("vision_tower.head.layernorm.weight", "vision_tower.head.probe")
    assert len(left[TEXT]) > 20 and left.keys() == {POSITIONS, HEAD, TEXT}


def test_what_stays_behind_a_tower_that_goes_along_is_told(folder: Path) -> None:
    put(folder, tensors_of(folder) | {"vision_tower.embeddings.position_ids": torch.arange(16)[None]})
    left = load_model(folder).left
    assert behind(left, eyes_of(read(folder)[0], Folder(folder))) == {VISION: ("vision_tower.embeddings.position_ids",)}


def test_a_tower_is_read_a_few_rows_at_a_time(folder: Path) -> None:
    eyes = eyes_of(read(folder)[0], Folder(folder))
    whole, pieces = eyes.empty(), eyes.empty()
    load_tower_into(whole, eyes)
    load_tower_into(pieces, eyes, chunk=100)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), pieces.parameters(), strict=True))


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_auto_keeps_the_file_s_dtype(checkpoint, stored: torch.dtype) -> None:
    folder = checkpoint("gemma3-vision", stored)
    assert load_tower(folder).dtype == stored
    assert load_tower(folder, dtype="float32").dtype == torch.float32
    assert {p.dtype for p in load_tower(folder, dtype="bf16").parameters()} == {torch.bfloat16}


def test_a_tower_s_dtype_is_not_the_text_s(folder: Path) -> None:
    """The tower may be kept in float32 beside a text model in bfloat16, in the file as in memory."""
    put(folder, {n: v.bfloat16() if n.startswith("language") else v for n, v in tensors_of(folder).items()})
    assert load_tower(folder).dtype == torch.float32 and load_model(folder).dtype == torch.bfloat16


def test_float16_becomes_float32_and_says_so(checkpoint) -> None:
    folder, notes = checkpoint("gemma3-vision", torch.float16), []
    assert load_tower(folder, device="cpu", notes=notes).dtype == torch.float32
    assert len(notes) == 1 and "float16" in notes[0]
    with pytest.raises(UserError, match="float16"):
        load_tower(folder, dtype="float16")


def test_digits_that_are_lost_on_the_way_are_told(folder: Path) -> None:
    notes: list[str] = []
    load_tower(folder, dtype="bfloat16", notes=notes)
    assert len(notes) == 1 and "stored as float32 and were rounded to bfloat16" in notes[0]


def test_a_loaded_tower_sees(folder: Path) -> None:
    tower = load_tower(folder)
    assert isinstance(tower, Tower) and not tower.training
    with torch.no_grad():
        assert tower.encode(torch.zeros(2, 3, 28, 28)).shape == (2, 4, 32)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    stored = tensors_of(folder)
    del stored[NORM]
    put(folder, stored)
    refused(folder, "1 tensors are missing", NORM)


def test_an_unknown_tensor_is_named_with_what_it_may_be(folder: Path) -> None:
    stored = tensors_of(folder)
    stored[NORM.replace("post_", "past_")] = stored.pop(NORM)
    put(folder, stored)
    refused(folder, "1 tensors of the vision half are unknown", "past_layernorm", f'may be "{NORM}"')


def test_a_layer_too_many_is_unknown(folder: Path) -> None:
    stored = tensors_of(folder)
    more = {n.replace("layers.1.", "layers.2."): v.clone() for n, v in stored.items() if "vision_tower" in n}
    put(folder, more | stored)
    refused(folder, "16 tensors of the vision half are unknown", "encoder.layers.2.")


@pytest.mark.parametrize("name", [NORM, "multi_modal_projector.mm_input_projection_weight"])
def test_another_shape_is_named(folder: Path, name: str) -> None:
    stored = tensors_of(folder)
    stored[name] = torch.cat([stored[name], stored[name]])
    put(folder, stored)
    refused(folder, name, re.sub(r"\D+$", "", str(list(stored[name].shape))))


def test_two_spellings_of_one_tensor_are_not_both_read(folder: Path) -> None:
    stored = tensors_of(folder)
    put(folder, stored | {NORM.replace("vision_tower.", "model.vision_tower."): stored[NORM].clone()})
    refused(folder, "unknown")


def test_integers_are_no_weights(folder: Path) -> None:
    stored = tensors_of(folder)
    stored[NORM] = stored[NORM].to(torch.int8)
    put(folder, stored)
    refused(folder, NORM, "int8")
    assert torch.int8 in CODES


def test_a_text_model_has_no_tower(checkpoint) -> None:
    refused(checkpoint("gemma3"), "is a text model")


@pytest.mark.parametrize("half", ["vision_tower.", "multi_modal_projector."])
def test_a_multimodal_config_without_half_of_it_is_refused(folder: Path, half: str) -> None:
    put(folder, {name: value for name, value in tensors_of(folder).items() if not name.startswith(half)})
    refused(folder, "holds no vision tower", "saved as a text model")


@pytest.mark.parametrize(
    "key, value, said",
    [("num_attention_heads", 5, "no multiple of its 5 heads"), ("patch_size", 56, "grid is 0")],
)
def test_a_vision_config_that_describes_no_tower_is_refused(folder: Path, edit, key, value, said) -> None:
    edit(folder / "config.json", lambda tree: tree["vision_config"].update({key: value}))
    refused(folder, "describes no model", said)
