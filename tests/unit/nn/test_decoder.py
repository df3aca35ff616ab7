"""The decoder as a whole."""

import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.ops.span import span

SIZES = {"width": 32, "depth": 6, "heads": 2, "head_dim": 16, "hidden": 48, "vocab": 60}


@pytest.fixture
def model() -> Decoder:
    model = Decoder(preset("gemma-3-1b", **SIZES))
    initialise(model, torch.Generator().manual_seed(0))
    return model


def test_float16_is_refused_with_its_reason(model: Decoder) -> None:
    with pytest.raises(ValueError, match="65,504"):
        model.half()(torch.tensor([2, 3]), span([2]))


def test_ids_must_be_as_many_as_the_step_says(model: Decoder) -> None:
    with pytest.raises(ValueError, match="3 tokens"):
        model(torch.tensor([2, 3]), span([3]))


def test_use_runs_on_the_hidden_states_inside_the_forward(model: Decoder) -> None:
    ids = torch.tensor([2, 3, 4])
    hidden = model(ids, span([3]))
    assert hidden.shape == (3, 32)
    last = model(ids, span([3]), use=lambda states, head: head.logits(states[-1:]))
    assert torch.equal(last, model.head.logits(hidden[-1:]))


def test_the_head_is_tied(model: Decoder) -> None:
    assert not any("head" in name for name in model.state_dict())
    model.embed.weight.data[7] = 0.0
    assert not model.head.logits(torch.randn(2, 32))[:, 7].any()


def test_the_digest_tells_weights_apart(model: Decoder) -> None:
    before = model.digest()
    assert before == model.digest()
    model.layers[3].mlp.down.weight.data[0, 0] += 1.0  # type: ignore[union-attr]
    assert model.digest() != before


def test_building_on_meta_allocates_nothing_and_counts_the_same() -> None:
    with torch.device("meta"):
        empty = Decoder(preset("gemma-3-1b", **SIZES))
    real = Decoder(preset("gemma-3-1b", **SIZES))
    assert all(parameter.is_meta for parameter in empty.parameters())
    assert not list(empty.buffers())
    assert {name: value.shape for name, value in empty.state_dict().items()} == {
        name: value.shape for name, value in real.state_dict().items()
    }


def test_a_past_needs_the_memory_that_holds_it(model: Decoder) -> None:
    with pytest.raises(ValueError, match="past"):
        model(torch.tensor([2]), span([1], past=[10]))
