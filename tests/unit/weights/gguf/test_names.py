"""Names in GGUF files against the table of the gguf package."""

from __future__ import annotations

import gguf
import pytest
import torch

from gemwright.arch.gemma3 import SIGLIP
from gemwright.arch.presets import preset
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.weights.gguf.names import eyes_names, is_norm, names_of
from gemwright.weights.names import is_vision, table
from gemwright.weights.vision_names import RELEASED, vision_table

FAMILIES = pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("gemma-2b", gguf.MODEL_ARCH.GEMMA),
        ("gemma-2-2b", gguf.MODEL_ARCH.GEMMA2),
        ("gemma-3-1b", gguf.MODEL_ARCH.GEMMA3),
    ],
)


def parameters(name: str) -> list[str]:
    with torch.device("meta"):
        return [key for key, _ in Decoder(preset(name)).named_parameters()]


@FAMILIES
def test_a_parameter_has_the_name_that_converters_give_it(name: str, architecture: gguf.MODEL_ARCH) -> None:
    family = preset(name).family
    oracle = gguf.get_tensor_name_map(architecture, 40)
    for ours in parameters(name):
        expected = oracle.get_name(table(family, "model.").theirs(ours), (".weight",))
        assert names_of(family).theirs(ours) == expected


@FAMILIES
def test_names_go_both_ways(name: str, architecture: gguf.MODEL_ARCH) -> None:
    names = names_of(preset(name).family)
    assert all(names.ours(names.theirs(ours)) == ours for ours in parameters(name))


@pytest.mark.parametrize("name", ["layers.0.attn_q.weight", "blk.00.attn_q.weight", "blk.0.attn_q.bias", "rope_freqs"])
def test_other_names_are_unknown(name: str) -> None:
    assert names_of("gemma3").ours(name) is None


def test_norms_and_nothing_else_are_norms() -> None:
    names = names_of("gemma3")
    for ours in parameters("gemma-3-1b"):
        assert is_norm(names.theirs(ours)) == ("norm" in ours)


# ---------------------------------------------------------------------------------------------------------------------
# Of a vision half


def tower() -> list[str]:
    """Every parameter of the published towers, by our names."""
    with torch.device("meta"):
        return [key for key, _ in Tower(SIGLIP, 2560).named_parameters()]


def test_a_tower_s_tensors_have_the_names_that_converters_give_them() -> None:
    oracle = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, SIGLIP.tower.depth)
    released, names = vision_table(*RELEASED), eyes_names(crossed=False)
    for ours in tower():
        theirs = released.theirs(ours).replace("_weight", ".weight")  # so does the converter
        assert names.theirs(ours) == oracle.get_name(theirs, (".weight", ".bias")), ours


@pytest.mark.parametrize("crossed", [False, True])
def test_a_tower_s_names_go_there_and_back(crossed: bool) -> None:
    names = eyes_names(crossed)
    theirs = {names.theirs(name): name for name in tower()}
    assert len(theirs) == 439 and {name: names.ours(name) for name in theirs} == theirs
    assert all(is_vision(name) for name in theirs)


def test_crossed_names_differ_in_the_two_matrices_of_an_mlp_alone() -> None:
    plain, crossed = eyes_names(False), eyes_names(True)
    differ = {name.split(".", 3)[3] for name in tower() if plain.theirs(name) != crossed.theirs(name)}
    assert differ == {f"mlp.{side}.{part}" for side in ("up", "down") for part in ("weight", "bias")}


@pytest.mark.parametrize("name", ["v.blk.0.ln3.weight", "v.blk.00.ln1.weight", "layers.0.ln1.weight", "mm.0.weight"])
def test_what_the_tower_s_table_does_not_hold_has_no_name(name: str) -> None:
    assert eyes_names(False).ours(name) is None


def test_the_only_shifted_norm_of_a_vision_half_is_the_projector_s() -> None:
    """SigLIP has LayerNorms, whose weights are stored as they are."""
    names = eyes_names(False)
    assert [name for name in tower() if is_norm(names.theirs(name))] == ["projector.norm.weight"]
