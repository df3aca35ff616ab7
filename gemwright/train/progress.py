"""What a run tells a person while it goes on, and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.planner.measure import resident
from gemwright.train.evaluate import Evaluation


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a person wants to see after a step. `loss`: of this step, nats per token; `seconds`: since this process
    began to train; `remaining`: an estimate, in seconds; `parts`: the share of the time that each part of the work
    took, the rest is small things; `memory`: see `memory_now`; `held_out`: the latest evaluation; `note`: a sentence
    for the person, or empty."""

    step: int
    steps: int
    loss: float
    rate: float
    norm: float
    tokens_per_second: float
    seconds: float
    remaining: float
    parts: Mapping[str, float]
    memory: int | None
    held_out: Evaluation | None
    note: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: `finished` after its last step, or stopped before, with a checkpoint to resume from. `model` has
    the weights that the run chose to hand on; so has `tower`, where a vision tower was trained along."""

    model: Decoder
    step: int
    targets: float
    held_out: Evaluation | None
    finished: bool
    seconds: float
    tower: Tower | None = None


def memory_now(device: torch.device) -> int | None:
    """Bytes that a run holds: on a CPU this process's own pages (`RssAnon`), on a GPU the most that torch has had
    there so far. None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        return resident()[0]
    except UserError:
        return None
