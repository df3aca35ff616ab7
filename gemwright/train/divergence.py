"""How far a student's predictions are from a teacher's, row by row, on whole rows of logits."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Divergence = Literal["forward", "reverse", "js"]


def divergence(
    kind: Divergence, student: Tensor, teacher: Tensor, *, beta: float = 0.5, temperature: float = 1.0
) -> Tensor:
    """Of each row of logits `[M, V]`, with p the teacher's and q the student's softmax of logits over `temperature`,
    in nats, times `temperature²`: `[M]`.

    "forward": KL(p‖q). "reverse": KL(q‖p). "js": the generalised Jensen-Shannon divergence `β KL(p‖m) + (1−β) KL(q‖m)`
    with `m = βp + (1−β)q` (Agarwal et al., "On-policy distillation of language models", 2024); over β it comes to
    KL(p‖q) as β → 0, over 1−β to KL(q‖p) as β → 1. Raises `ValueError` for another kind, or β outside (0, 1).
    """
    one, other = _log_softmax(student, temperature), _log_softmax(teacher, temperature)
    return temperature**2 * _between(kind, one, other, beta)


def top_divergence(
    kind: Divergence, student: Tensor, teacher: Tensor, count: int, *, beta: float = 0.5, temperature: float = 1.0
) -> Tensor:
    """`divergence` between distributions over `count` + 1 outcomes: the teacher's likeliest tokens of each row, one by
    one, and all others as one, the tail. Never more than over all outcomes."""
    one, other = _log_softmax(student, temperature), _log_softmax(teacher, temperature)
    if count < teacher.shape[1]:  # else there is no tail
        ids = teacher.topk(count, dim=1).indices
        one, other = _with_tail(one, ids), _with_tail(other, ids)
    return temperature**2 * _between(kind, one, other, beta)


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    return (logits if temperature == 1.0 else logits / temperature).log_softmax(1)


def _with_tail(log: Tensor, ids: Tensor) -> Tensor:
    """Log-probabilities `[M, V]` → of `ids` `[M, L]` and of all others together: `[M, L + 1]`."""
    # One minus the sum of the others would cancel to nothing where the tail is small.
    tail = log.scatter(1, ids, float("-inf")).logsumexp(1, keepdim=True)
    return torch.cat([log.gather(1, ids), tail], dim=1)


def _between(kind: Divergence, student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """The divergence between log-probabilities."""
    if kind == "forward":
        return _kl(teacher, student)
    if kind == "reverse":
        return _kl(student, teacher)
    if kind != "js" or not 0 < beta < 1:
        raise ValueError(f"there is no divergence {kind!r} with β = {beta}")
    weights = torch.tensor([beta, 1 - beta], dtype=student.dtype, device=student.device).log()
    middle = torch.logaddexp(teacher + weights[0], student + weights[1])
    return beta * _kl(teacher, middle) + (1 - beta) * _kl(student, middle)


def _kl(one: Tensor, other: Tensor) -> Tensor:
    """KL(one‖other) of log-probabilities `[M, V]`. Where `one` is nothing, so is the term, whatever `other` says."""
    nothing = one.isneginf()
    one, other = one.masked_fill(nothing, 0.0), other.masked_fill(nothing, 0.0)
    return (one.exp() * (one - other)).sum(1)
