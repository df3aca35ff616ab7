"""Divergences: the formulas, their limits, and what the tail keeps."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Categorical, kl_divergence

from gemwright.train.divergence import Divergence, divergence, top_divergence

KINDS: tuple[Divergence, ...] = ("forward", "reverse", "js")


def pair(vocab: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """Student's and teacher's logits, float64."""
    return 3 * torch.randn(5, vocab).double(), 3 * torch.randn(5, vocab).double()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_forward_and_reverse_are_torchs_own_divergences(temperature: float) -> None:
    student, teacher = pair()
    q, p = Categorical(logits=student / temperature), Categorical(logits=teacher / temperature)
    scale = temperature**2
    found = divergence("forward", student, teacher, temperature=temperature)
    torch.testing.assert_close(found, scale * kl_divergence(p, q))
    found = divergence("reverse", student, teacher, temperature=temperature)
    torch.testing.assert_close(found, scale * kl_divergence(q, p))


def test_js_is_the_mean_distance_from_the_middle() -> None:
    student, teacher = pair()
    p, q, beta = teacher.softmax(1), student.softmax(1), 0.3
    middle = beta * p + (1 - beta) * q
    wanted = beta * F.kl_div(middle.log(), p, reduction="none") + (1 - beta) * F.kl_div(
        middle.log(), q, reduction="none"
    )
    torch.testing.assert_close(divergence("js", student, teacher, beta=beta), wanted.sum(1))


def test_js_comes_to_both_others_at_its_ends() -> None:
    student, teacher = pair()
    near = 1e-9  # smaller and float64 has too few digits left
    towards = divergence("js", student, teacher, beta=near) / near
    torch.testing.assert_close(towards, divergence("forward", student, teacher), rtol=1e-4, atol=1e-5)
    back = divergence("js", student, teacher, beta=1 - near) / near
    torch.testing.assert_close(back, divergence("reverse", student, teacher), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_predictions_are_no_distance_apart(kind: Divergence) -> None:
    student, _ = pair()
    assert divergence(kind, student, student + 7.0).abs().max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_the_top_is_never_further_than_the_whole_and_comes_to_it(kind: Divergence) -> None:
    student, teacher = pair()
    whole = divergence(kind, student, teacher)
    found = [top_divergence(kind, student, teacher, count) for count in range(1, 10)]
    for fewer, more in pairwise(found):
        assert (fewer <= more + 1e-12).all()
    torch.testing.assert_close(found[-1], whole)
    assert (found[0] < whole - 1e-3).any()


def test_the_tail_is_one_outcome() -> None:
    student, teacher = torch.tensor([[1.0, 0.0, -1.0, 2.0]]).double(), torch.tensor([[0.0, 3.0, 2.0, -1.0]]).double()
    p, q = (logits.softmax(1)[0] for logits in (teacher, student))
    kept = [1, 2]
    outcomes = [(p[index], q[index]) for index in kept] + [(1 - p[kept].sum(), 1 - q[kept].sum())]
    wanted = sum(one * (one / other).log() for one, other in outcomes)
    assert abs(top_divergence("forward", student, teacher, 2).item() - float(wanted)) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_where_a_probability_vanishes(kind: Divergence) -> None:
    student = torch.tensor([[0.0, 200.0, -200.0]], requires_grad=True)
    teacher = torch.tensor([[200.0, 0.0, -200.0]])
    for found in (divergence(kind, student, teacher), top_divergence(kind, student, teacher, 1)):
        (slope,) = torch.autograd.grad(found.sum(), student)
        assert found.isfinite().all() and slope.isfinite().all()


def test_gradients_are_those_of_finite_differences() -> None:
    student, teacher = pair(5)
    for kind in KINDS:
        assert torch.autograd.gradcheck(
            lambda x, kind=kind: divergence(kind, x, teacher, beta=0.3, temperature=1.5), student.requires_grad_()
        )
        assert torch.autograd.gradcheck(lambda x, kind=kind: top_divergence(kind, x, teacher, 2), student)


def test_an_impossible_divergence_is_refused() -> None:
    with pytest.raises(ValueError, match="β"):
        divergence("js", *pair(), beta=1.0)
