"""The vision half's names go there and back behind every prefix, and are those of transformers."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
import transformers

from gemwright.arch.gemma3 import SIGLIP
from gemwright.arch.presets import preset
from gemwright.nn.gemma import Tower
from gemwright.weights.hf_write import write
from gemwright.weights.names import is_vision
from gemwright.weights.vision_names import ENCODERS, PROJECTORS, find_vision, vision_table

BEHIND = tuple(itertools.product(ENCODERS, PROJECTORS))


def ours() -> list[str]:
    with torch.device("meta"):
        return [name for name, _ in Tower(SIGLIP, 2560).named_parameters()]


@pytest.mark.parametrize("encoder, projector", BEHIND)
def test_every_parameter_goes_there_and_back(encoder: str, projector: str) -> None:
    names = vision_table(encoder, projector)
    theirs = {name: names.theirs(name) for name in ours()}
    assert {names.ours(name): name for name in theirs.values()} == theirs
    assert len(set(theirs.values())) == len(theirs) == 439
    assert all(is_vision(name) for name in theirs.values())


@pytest.mark.parametrize("encoder, projector", BEHIND)
def test_prefixes_are_told_by_the_names(encoder: str, projector: str) -> None:
    names = vision_table(encoder, projector)
    listed = [names.theirs(name) for name in ours()]
    assert find_vision([*reversed(listed), "language_model.model.norm.weight"]) == names


@pytest.mark.parametrize("absent", [*ENCODERS, *PROJECTORS])
def test_half_of_a_vision_half_is_none(absent: str) -> None:
    encoder, projector = ENCODERS[0], PROJECTORS[0]
    listed = [vision_table(encoder, projector).theirs(name) for name in ours()]
    kept = [name for name in listed if name.startswith("model.vision_tower") == (absent in PROJECTORS)]
    assert find_vision(kept) is None and find_vision([]) is None


def test_names_and_shapes_are_those_of_transformers(tmp_path) -> None:
    """On the meta device, at the tower's full size."""
    spec = preset("gemma-3-4b", depth=2)
    assert spec.vision is not None
    with torch.device("meta"):
        tower = Tower(spec.vision, spec.width)
        (tmp_path / "config.json").write_text(json.dumps(write(spec)))
        config = transformers.AutoConfig.from_pretrained(tmp_path)
        reference = transformers.AutoModelForImageTextToText.from_config(config)
    names = vision_table("model.vision_tower.", "model.multi_modal_projector.")
    mine = {names.theirs(name): tuple(value.shape) for name, value in tower.named_parameters()}
    theirs = {name: tuple(value.shape) for name, value in reference.named_parameters() if is_vision(name)}
    assert mine == theirs


@pytest.mark.parametrize(
    "name",
    [
        "vision_tower.encoder.layers.0.layer_norm3.weight",
        "vision_tower.encoder.layers.00.layer_norm1.weight",
        "vision_tower.layers.0.layer_norm1.weight",
        "vision_tower.head.probe",
        "multi_modal_projector.mm_input_projection_weight.weight",
        "language_model.model.norm.weight",
    ],
)
def test_what_the_table_does_not_hold_has_no_name(name: str) -> None:
    assert vision_table("vision_tower.", "multi_modal_projector.").ours(name) is None


def test_a_name_that_the_tower_does_not_have_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"encoder\.layers\.0\.mixer\.gate"):
        vision_table("vision_tower.", "multi_modal_projector.").theirs("encoder.layers.0.mixer.gate.weight")
