"""Decay where it belongs, AdamW as published, clipping by the global norm."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gemwright.arch.presets import preset
from gemwright.nn.decoder import Decoder
from gemwright.train.optim import Optim, build, decays, divide_and_clip, moments, restore_moments, set_rate

SETTINGS = Optim(rate=0.1, beta1=0.9, beta2=0.99, epsilon=1e-8, decay=0.5, clip=1.0)


def test_matrices_decay_and_norms_biases_and_the_rg_lru_do_not() -> None:
    spec = preset(
        "recurrentgemma-2b", width=32, recurrent_width=32, depth=3, gate_blocks=2, heads=2, hidden=48, vocab=64
    )
    with torch.device("meta"):
        model = Decoder(spec)
    spared = {name for name, parameter in model.named_parameters() if not decays(name, parameter)}
    kept = {name for name, _ in model.named_parameters()} - spared
    assert all(name.endswith((".bias", "norm.weight")) or ".rg_lru." in name for name in spared)
    assert {
        "embed.weight",
        "layers.0.mlp.gate.weight",
        "layers.0.mixer.conv.weight",
        "layers.2.mixer.query.weight",
    } <= kept
    assert "layers.0.mixer.rg_lru.a_gate.weight" in spared and "layers.0.mixer.linear_x.bias" in spared


def test_a_step_is_adamw_with_decoupled_decay() -> None:
    model = nn.Linear(2, 1)
    weight, bias = model.weight.detach().double().clone(), model.bias.detach().double().clone()
    optimizer = build(model, SETTINGS)
    set_rate(optimizer, 0.01)
    model.weight.grad, model.bias.grad = torch.tensor([[3.0, -2.0]]), torch.tensor([0.5])
    optimizer.step()
    # The first step moves by the rate times the gradient's sign, whatever its size.
    assert torch.allclose(model.weight.double(), weight * (1 - 0.01 * 0.5) - 0.01 * torch.tensor([[1.0, -1.0]]))
    assert torch.allclose(model.bias.double(), bias - 0.01)


@pytest.mark.parametrize(("clip", "share"), [(100.0, 1.0), (1.0, 0.4)])
def test_gradients_of_sums_are_divided_once_and_clipped_together(clip: float, share: float) -> None:
    one, two = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(2, 1))
    one.grad, two.grad = torch.tensor([6.0]), torch.tensor([[8.0], [0.0]])
    assert divide_and_clip([one, two], 4.0, clip) == pytest.approx(2.5)
    assert one.grad.item() == pytest.approx(1.5 * share) and two.grad[0].item() == pytest.approx(2.0 * share)


def test_a_gradient_that_is_not_finite_is_reported_and_left() -> None:
    one = nn.Parameter(torch.zeros(2))
    one.grad = torch.tensor([math.nan, 1.0])
    assert math.isnan(divide_and_clip([one], 2.0, 1.0)) and one.grad[1] == 1.0


def test_moments_restored_by_name_continue_bit_for_bit() -> None:
    def stepped(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for number, parameter in enumerate(model.parameters()):
            parameter.grad = torch.full_like(parameter, 0.3 + number)
        optimizer.step()

    first = nn.Linear(3, 2)
    optimizer = build(first, SETTINGS)
    stepped(first, optimizer)
    second = nn.Linear(3, 2)
    second.load_state_dict(first.state_dict())
    other = build(second, SETTINGS)
    restore_moments(second, other, {name: tensor.clone() for name, tensor in moments(first, optimizer)})
    stepped(first, optimizer)
    stepped(second, other)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_moments_of_another_model_are_refused() -> None:
    model = nn.Linear(2, 1)
    with pytest.raises(ValueError, match=r"'layers\.0'"):
        restore_moments(model, build(model, SETTINGS), {"exp_avg.layers.0": torch.zeros(1)})
