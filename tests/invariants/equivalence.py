"""What it means that a shortcut equals its home: three kinds of equality, and the bounds of the second.

Every test of this folder is a row of one table: a claim and its kind, given by `@equivalence`. `pytest tests/invariants
--co -q` lists the rows by name, and a test without one is refused.

bit    the same arithmetic: not one bit differs.
round  the same mathematics in another order, in float32: within a bound that is written beside the claim.
text   the same greedy ids, but where the two best logits are closer than 1e-4 of the logits' standard deviation.
refusal  what cannot be equal is not attempted.
bound  no equality: what it may take at most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

import torch
from torch import Tensor

Kind = Literal["bit", "round", "text", "refusal", "bound"]
F = TypeVar("F", bound=Callable[..., object])

# Of the standard deviation of the compared values. `test_bounds.py` measures the noise between two honest references,
# float32 and float64, and holds these bounds to it.
LOGITS = 4e-5
LOGPROBS = 2e-5  # of drawn tokens: the noise is 5e-6 at most, where logits of any row may be off by more
VALUES = 1e-5
GRADIENTS = 5e-5  # where single terms reach 14 deviations, torch's own SDPA is 3e-5 off


def equivalence(claim: str, kind: Kind) -> Callable[[F], F]:
    """A row of the table."""

    def mark(test: F) -> F:
        test.equivalence = (claim, kind)  # type: ignore[attr-defined]
        return test

    return mark


def off(some: Tensor, other: Tensor, least: float = 1e-6) -> float:
    """The largest difference, in standard deviations of `other`; infinite where one of them is no number.

    `least`: the unit where the deviation is smaller still, for gradients that cancel to nothing.
    """
    if some.shape != other.shape or not (some.isfinite().all() and other.isfinite().all()):
        return float("inf")
    spread = other.double().std() if other.numel() > 1 else other.double().abs().mean()
    return ((some.double() - other.double()).abs().max() / spread.clamp_min(least)).item()


def same_bits(some: Tensor, other: Tensor) -> bool:
    """Equal to the last bit."""
    return some.dtype == other.dtype and torch.equal(some, other)
