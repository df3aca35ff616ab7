"""The learning rate over a run: a linear warm-up, then a decay to a floor. Plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """`warmup` steps up to the full rate, then `kind` down to `floor` (a share of the full rate) at the last step."""

    kind: Literal["cosine", "linear", "constant"]
    warmup: int
    floor: float


def factor(schedule: Schedule, step: int, steps: int) -> float:
    """The share of the full rate at `step` (0 is the first) of `steps`. The first step is not wasted on a rate of 0:
    it has `1 / (warmup + 1)`; the last step has the floor."""
    if step < schedule.warmup:
        return (step + 1) / (schedule.warmup + 1)
    if schedule.kind == "constant":
        return 1.0
    after = max(steps - 1 - schedule.warmup, 1)
    done = min((step - schedule.warmup) / after, 1.0)
    left = 0.5 * (1 + math.cos(math.pi * done)) if schedule.kind == "cosine" else 1 - done
    return schedule.floor + (1 - schedule.floor) * left
