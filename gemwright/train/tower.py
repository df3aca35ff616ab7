"""The vision tower of a run: loaded, or drawn anew."""

from __future__ import annotations

import torch

from gemwright.errors import UserError
from gemwright.loading import load_tower
from gemwright.nn.gemma import Tower
from gemwright.nn.init import initialise_tower
from gemwright.train.run import Run


def build(run: Run, generator: torch.Generator, device: torch.device, *, fresh: bool) -> Tower:
    """The tower of `run` on `device`: a tuned one in float32, with the weights of `run.start` or drawn from
    `generator`; a frozen one as its files have it. Where the run is not `fresh`, a checkpoint brings a tuned one's
    weights. Raises `UserError` where `run.start` has no tower, or another than the run's model."""
    assert run.pictures is not None and run.model.vision is not None
    tuned = run.pictures.tower == "tuned"
    if tuned and (run.start is None or not fresh):
        with device:
            tower = Tower(run.model.vision, run.model.width)
        initialise_tower(tower, generator)
        return tower.train()
    tower = load_tower(run.start, dtype=torch.float32 if tuned else "auto", device=device)
    found = tower.projector.weight.shape[1]
    if tower.spec != run.model.vision or found != run.model.width:
        raise UserError(
            f"the tower of {run.start} is not that of this run's model",
            hint="give the model of the run the tower of the one that it starts from",
        )
    return tower.requires_grad_(tuned).train(tuned)
