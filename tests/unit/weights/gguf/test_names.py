"""Names in GGUF files against the table of the gguf package."""

from __future__ import annotations

import gguf
import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.nn.decoder import Decoder
from gemwright.weights.gguf.names import is_norm, names_of
from gemwright.weights.names import table

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
