"""Decay where it belongs, AdamW as published, clipping by the global norm."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import nn

from gemwright.arch.presets import preset
from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.nn.init import initialise, initialise_tower
from gemwright.train.muon import orthogonal
from gemwright.train.optim import Optim, build, decays, divide_and_clip, moments, restore_moments, set_rate

SETTINGS = Optim(kind="adamw", rate=0.1, beta1=0.9, beta2=0.99, epsilon=1e-8, decay=0.5, clip=1.0)


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


def test_muon_follows_all_directions_of_a_gradient_equally_far_at_adamws_size() -> None:
    generator = torch.Generator().manual_seed(1)
    # Directions whose loudness differs by a factor of thirty.
    left, right = (torch.linalg.qr(torch.randn(n, 16, generator=generator))[0] for n in (16, 48))
    gradient = left @ torch.diag(torch.logspace(0, -1.5, 16)) @ right.T
    values = torch.linalg.svdvals(orthogonal(gradient))
    assert values.min() > 0.6 and values.max() < 1.3
    assert torch.allclose(orthogonal(gradient.T), orthogonal(gradient).T)
    model = nn.Linear(48, 16, bias=False)
    before = model.weight.detach().clone()
    optimizer = build(model, replace(SETTINGS, kind="muon", decay=0.0))
    model.weight.grad = gradient
    optimizer.step()
    moved = (model.weight - before) / SETTINGS.rate
    assert torch.linalg.svdvals(moved).max() < 0.2 * 48**0.5 * 1.3
    assert 0.1 < moved.square().mean().sqrt() < 0.3


def test_muon_moves_matrices_of_blocks_and_adamw_the_rest() -> None:
    spec = preset(
        "recurrentgemma-2b", width=32, recurrent_width=32, depth=3, gate_blocks=2, heads=2, hidden=48, vocab=64
    )
    model = Decoder(spec)
    initialise(model, torch.Generator().manual_seed(0))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer = build(model, replace(SETTINGS, kind="muon"))
    plain = Decoder(spec)
    plain.load_state_dict(model.state_dict())
    for parameter in plain.parameters():
        parameter.grad = torch.ones_like(parameter)
    for each in (optimizer, build(plain, SETTINGS)):
        each.step()
    other = dict(plain.named_parameters())
    same = {name for name, value in model.named_parameters() if torch.equal(value, other[name])}
    assert {"embed.weight", "layers.0.mixer.conv.weight", "layers.0.mixer.rg_lru.a_gate.weight"} <= same
    kinds = {key.split(".")[0] for key, _ in moments(model, optimizer)}
    assert "layers.2.mixer.query.weight" not in same and "layers.1.mlp.up.weight" not in same
    assert kinds == {"momentum", "exp_avg", "exp_avg_sq", "step"}


def test_muon_takes_patches_as_vectors_and_leaves_positions_to_adamw() -> None:
    spec = Vision(tower=Encoder(image=16, patch=4, width=8, hidden=8, heads=2, depth=1, norm_epsilon=1e-6), tokens=4)
    tower = Tower(spec, 8)
    initialise_tower(tower, torch.Generator().manual_seed(1))
    before = tower.encoder.patches.weight.detach().clone()
    for parameter in tower.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    optimizer = build(tower, replace(SETTINGS, kind="muon", decay=0.0))
    optimizer.step()
    moved = ((before - tower.encoder.patches.weight.detach()) / SETTINGS.rate).flatten(1)
    assert torch.linalg.svdvals(moved).min() > 0.5 * torch.linalg.svdvals(moved).max()
    names = [key for key, _ in moments(tower, optimizer)]
    assert "momentum.encoder.patches.weight" in names and "exp_avg.encoder.positions" in names


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_moments_restored_by_name_continue_bit_for_bit(kind: Literal["adamw", "muon"]) -> None:
    settings = replace(SETTINGS, kind=kind)

    def stepped(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for number, parameter in enumerate(model.parameters()):
            parameter.grad = torch.full_like(parameter, 0.3 + number)
        optimizer.step()

    first = nn.Linear(3, 2)
    optimizer = build(first, settings)
    stepped(first, optimizer)
    second = nn.Linear(3, 2)
    second.load_state_dict(first.state_dict())
    other = build(second, settings)
    restore_moments(second, other, {name: tensor.clone() for name, tensor in moments(first, optimizer)})
    stepped(first, optimizer)
    stepped(second, other)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_moments_of_another_model_are_refused() -> None:
    model = nn.Linear(2, 1)
    with pytest.raises(ValueError, match=r"'layers\.0'"):
        restore_moments(model, build(model, SETTINGS), {"exp_avg.layers.0": torch.zeros(1)})
