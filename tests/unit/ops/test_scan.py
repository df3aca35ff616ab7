"""The linear recurrence: scanned in parallel as in the loop."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gemwright.ops.scan import block_linear, bounded_sqrt, enter, gated_input, scan, scan_loop


@given(length=st.integers(1, 130), width=st.integers(1, 5), seed=st.integers(0, 2**30))
def test_the_parallel_scan_is_the_loop(length: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    a, x = torch.rand(length, width), torch.randn(length, width)
    a[torch.rand(length) < 0.1] = 0.0
    a[torch.rand(length) < 0.1] = 1.0
    kept = a.clone(), x.clone()
    assert torch.allclose(scan(a, x), scan_loop(a.double(), x.double()).float(), atol=1e-5)
    assert torch.equal(a, kept[0]) and torch.equal(x, kept[1])


@pytest.mark.parametrize("length", [1, 2, 9, 30])
def test_the_gradient_of_the_scan(length: int) -> None:
    a = torch.rand(length, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(length, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(scan, (a, x))


def test_extreme_decays_stay_finite() -> None:
    a = torch.exp(torch.tensor([-1e-8, -200.0, -1e-8, -50.0])).repeat(100)[:, None]
    states = scan(a, torch.ones_like(a))
    assert torch.isfinite(states).all()
    assert torch.allclose(states, scan_loop(a, torch.ones_like(a)), rtol=1e-6)


def test_a_reset_takes_the_input_whole_and_nothing_of_the_past() -> None:
    u, gates = torch.randn(5, 4), torch.randn(2, 5, 4)
    reset = torch.tensor([True, False, False, True, False])
    a, x = gated_input(u, gates[0], gates[1], torch.randn(4), reset)
    assert torch.equal(a[reset], torch.zeros(2, 4))
    assert torch.allclose(x[reset], torch.sigmoid(gates[1][reset]) * u[reset])
    states = scan(a, x)
    assert torch.allclose(states[3:], scan_loop(a[3:], x[3:]), atol=1e-6)


def test_the_equations_of_the_gates() -> None:
    u, r, i, p = torch.randn(7, 4), torch.randn(7, 4), torch.randn(7, 4), torch.randn(4)
    a, x = gated_input(u, r, i, p, torch.zeros(7, dtype=torch.bool))
    decay = torch.sigmoid(-p.double()) ** (8 * torch.sigmoid(r.double()))
    assert torch.allclose(a.double(), decay, rtol=1e-5)
    assert torch.allclose(x.double(), (1 - decay**2).sqrt() * torch.sigmoid(i.double()) * u.double(), rtol=1e-4)


def test_the_multiplier_keeps_its_digits_near_a_decay_of_one() -> None:
    p = torch.tensor([-15.0])
    _, x = gated_input(torch.ones(1, 1), torch.zeros(1, 1), torch.full((1, 1), 50.0), p, torch.tensor([False]))
    exact = math.sqrt(-math.expm1(2 * -8 * math.log1p(math.exp(-15.0)) * 0.5))
    assert x.item() == pytest.approx(exact, rel=1e-5)


def test_a_state_enters_through_the_first_row_of_its_own_document() -> None:
    a, x, state = torch.rand(6, 3), torch.randn(6, 3), torch.randn(2, 3)
    states = scan(*enter(a, x, state, torch.tensor([0, 4])))
    before = torch.cat([state[:1], x[:4]]), torch.cat([state[1:], x[4:]])
    decays = torch.cat([torch.zeros(1, 3), a[:4]]), torch.cat([torch.zeros(1, 3), a[4:]])
    expected = torch.cat([scan_loop(d, b)[1:] for d, b in zip(decays, before, strict=True)])
    assert torch.allclose(states, expected, atol=1e-6)


def test_the_slope_of_the_root_is_clipped_at_a_thousand() -> None:
    x = torch.tensor([0.0, 1e-12, 1e-6, 0.04, 4.0], requires_grad=True)
    root = bounded_sqrt(x)
    root.sum().backward()
    assert torch.equal(root.detach(), x.detach().sqrt())
    assert x.grad is not None
    assert torch.allclose(x.grad, torch.tensor([1000.0, 1000.0, 500.0, 2.5, 0.25]), rtol=1e-5)


def test_the_state_is_float32_in_bfloat16() -> None:
    u = torch.randn(3, 4).bfloat16()
    a, x = gated_input(u, u, u, torch.randn(4).bfloat16(), torch.zeros(3, dtype=torch.bool))
    assert scan(a, x).dtype == torch.float32


def test_blocks_mix_only_their_own_channels() -> None:
    weight, bias, x = torch.randn(2, 3, 3), torch.randn(2, 3), torch.randn(5, 6)
    whole = torch.block_diag(*weight)
    assert torch.allclose(block_linear(x, weight, bias), x @ whole + bias.flatten(), atol=1e-5)
