"""The vision tower of a run: loaded, or drawn anew; and the name of its weights."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import nn

from gemwright.errors import UserError
from gemwright.loading import load_tower
from gemwright.nn.gemma import Projector, Tower
from gemwright.nn.linear import samples
from gemwright.nn.norm import RMSNorm
from gemwright.nn.siglip import LayerNorm, Patches, Siglip
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
        initialise(tower, generator)
        return tower.train()
    tower = load_tower(run.start, dtype=torch.float32 if tuned else "auto", device=device)
    found = tower.projector.weight.shape[1]
    if tower.spec != run.model.vision or found != run.model.width:
        raise UserError(
            f"the tower of {run.start} is not that of this run's model",
            hint="give the model of the run the tower of the one that it starts from",
        )
    return tower.requires_grad_(tuned).train(tuned)


@torch.no_grad()
def initialise(tower: Tower, generator: torch.Generator) -> None:
    """Draws every parameter, in place, in the order of its modules.

    Matrices are Xavier's, positions have a mean square of 1 over the width, biases start at 0 (as SigLIP's own code
    draws them). The projector is drawn so that a soft token is as long as a scaled embedding: a mean square of 1.
    """
    for module in tower.modules():
        if isinstance(module, LayerNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()
        elif isinstance(module, RMSNorm):
            module.weight.zero_()  # it multiplies by 1 + weight
        elif isinstance(module, Siglip):
            module.positions.normal_(0.0, module.spec.width**-0.5, generator=generator)
        elif isinstance(module, Patches):
            module.weight.normal_(0.0, module.weight[0].numel() ** -0.5, generator=generator)
            module.bias.zero_()
        elif isinstance(module, Projector):
            module.weight.normal_(0.0, module.weight.shape[0] ** -0.5, generator=generator)
        elif isinstance(module, nn.Linear):
            module.weight.normal_(0.0, math.sqrt(2.0 / sum(module.weight.shape)), generator=generator)
            module.bias.zero_()


def digest(tower: Tower) -> str:
    """A name for these weights in this dtype: a hash over evenly spaced elements of every parameter."""
    found = hashlib.sha256(f"{tower.spec} {tower.dtype}".encode())
    for name, module in tower.named_modules():
        for kind, some in samples(module).items():
            found.update(f"{name}.{kind}".encode() + some.numpy().tobytes())
    return found.hexdigest()[:32]
