"""The tied table and its scale."""

import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.nn.embed import Embedding

SCALES = {
    "gemma-3-270m": 25.25,
    "gemma-3-1b": 34.0,
    "gemma-2b": 45.25,
    "gemma-2-2b": 48.0,
    "gemma-3-4b": 50.5,
    "recurrentgemma-2b": 50.5,
    "gemma-7b": 55.5,
    "gemma-2-9b": 59.75,
    "gemma-3-12b": 62.0,
    "recurrentgemma-9b": 64.0,
    "gemma-2-27b": 68.0,
    "gemma-3-27b": 73.5,
    "griffin-100m": 1.0,
}


def _table(name: str) -> Embedding:
    with torch.device("meta"):
        return Embedding(preset(name))


@pytest.mark.parametrize("name", SCALES)
def test_the_scale_is_rounded_to_bfloat16_before_it_multiplies(name: str) -> None:
    assert _table(name).rounded_scale(torch.bfloat16) == SCALES[name]


@pytest.mark.parametrize("name", SCALES)
def test_float32_keeps_the_exact_root_except_where_the_family_rounds_always(name: str) -> None:
    table = _table(name)
    rounds = table.rounding == "bfloat16"
    exact = SCALES[name] if rounds else pytest.approx(preset(name).width ** 0.5, rel=1e-7)
    assert rounds == name.startswith(("recurrentgemma", "griffin"))
    assert table.rounded_scale(torch.float32) == exact


def test_only_the_lookup_is_scaled() -> None:
    table = Embedding(preset("gemma-3-1b", width=16, vocab=10))
    torch.nn.init.normal_(table.weight)
    ids = torch.tensor([3, 9])
    assert torch.allclose(table(ids), table.weight[ids] * 4.0)
    assert torch.allclose(table.scores(table.weight[:2]), table.weight[:2] @ table.weight.T)
