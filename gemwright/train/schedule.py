"""The learning rate over a run: a linear warm-up, then a decay to a floor. Plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["cosine", "linear", "wsd", "constant"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """`warmup` steps up to the full rate, then `kind` down to `floor` (a share of the full rate) at the last step.

    `cosine` and `linear` fall all the way, `constant` never. `wsd` (warm-up, stable, decay) keeps the full rate and
    falls within the last share `decay` of all steps, as one minus a square root (Hägele et al., "Scaling laws and
    compute-optimal training beyond fixed training durations", 2024). The other kinds do not read `decay`.
    """

    kind: Kind
    warmup: int
    floor: float
    decay: float

    def falling(self, steps: int) -> int:
        """How many of `steps` `wsd` falls in: at least the last one."""
        return max(1, round(self.decay * steps))


def factor(schedule: Schedule, step: int, steps: int) -> float:
    """The share of the full rate at `step` (0 is the first) of `steps`. The first step is not wasted on a rate of 0:
    it has `1 / (warmup + 1)`; the last step has the floor."""
    if step < schedule.warmup:
        return (step + 1) / (schedule.warmup + 1)
    if schedule.kind == "constant":
        return 1.0
    return schedule.floor + (1 - schedule.floor) * _left(schedule, step, steps)


def _left(schedule: Schedule, step: int, steps: int) -> float:
    """How much of the way down to the floor is left after the warm-up: 1 to 0."""
    if schedule.kind == "wsd":
        falling = schedule.falling(steps)
        return 1 - math.sqrt(max(0, step + 1 - (steps - falling)) / falling)
    done = min((step - schedule.warmup) / max(steps - 1 - schedule.warmup, 1), 1.0)
    return 0.5 * (1 + math.cos(math.pi * done)) if schedule.kind == "cosine" else 1 - done
