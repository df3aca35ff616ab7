"""AdamW or Muon, with decay only where it makes sense, and clipping by the global norm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gemwright.train.muon import Muon

_MOMENTUM = 0.95
_UNMIXED = ("embed.weight", "positions", ".lora_a", ".lora_b")


@dataclass(frozen=True, kw_only=True)
class Optim:
    """AdamW's numbers (Loshchilov & Hutter, 2019). `kind`: adamw, or muon, which moves the matrices of the blocks by a
    rule of its own (see `muon`); `rate`: at its full height; `decay`: per step, times the rate, on weights of matrices
    only; `clip`: the largest global norm of the gradient."""

    kind: Literal["adamw", "muon"]
    rate: float
    beta1: float
    beta2: float
    epsilon: float
    decay: float
    clip: float


def decays(name: str, parameter: Tensor) -> bool:
    """Does weight decay act on this parameter? Not on norms and other vectors, not on biases, whatever their shape,
    and not on the RG-LRU: to shrink its gates would change how long it remembers."""
    return parameter.ndim > 1 and not name.endswith(".bias") and ".rg_lru." not in name


def mixes(name: str, parameter: Tensor) -> bool:
    """Is this parameter a matrix that acts on vectors as a whole? A picture's patches are such vectors. Not a table, of
    pieces or of positions, not a filter, and not an adapter's halves, whose product is what matters."""
    matrix = parameter.ndim == 2 or name.endswith("patches.weight")
    return decays(name, parameter) and matrix and not name.endswith(_UNMIXED)


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that want a gradient, by name, in the model's order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def build(model: nn.Module, optim: Optim) -> torch.optim.Optimizer:
    """The optimiser of the parameters that want a gradient: a group with decay and one without, and for Muon one of
    matrices."""
    wanted = trained(model).items()
    muon = optim.kind == "muon"
    mixing = [parameter for name, parameter in wanted if muon and mixes(name, parameter)]
    rest = [(name, parameter) for name, parameter in wanted if not (muon and mixes(name, parameter))]
    groups = [
        {"params": mixing, "weight_decay": optim.decay, "orthogonal": True, "momentum": _MOMENTUM},
        {"params": [each for name, each in rest if decays(name, each)], "weight_decay": optim.decay},
        {"params": [each for name, each in rest if not decays(name, each)], "weight_decay": 0.0},
    ]
    return (Muon if muon else torch.optim.AdamW)(
        [{"orthogonal": False, **group} for group in groups if group["params"]],
        lr=optim.rate,
        betas=(optim.beta1, optim.beta2),
        eps=optim.epsilon,
        fused=True,
    )


def kept(model: nn.Module, optim: Optim) -> int:
    """Numbers that the optimiser of `build` remembers: AdamW's two moments of each parameter, one momentum of each that
    Muon moves."""
    muon = optim.kind == "muon"
    return sum(each.numel() * (1 if muon and mixes(name, each) else 2) for name, each in trained(model).items())


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate of the next step, in every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def divide_and_clip(parameters: Iterable[nn.Parameter], count: float, clip: float) -> float:
    """Divides gradients of sums by `count`, scales them to a global norm of at most `clip`, and returns the norm
    before that scaling. A norm that is not finite is returned and nothing is scaled."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients, foreach=True)) / count
    if math.isfinite(norm):
        scale = min(1.0, clip / max(norm, 1e-12)) / count
        for gradient in gradients:
            gradient.mul_(scale)
    return norm


def moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """The optimiser's tensors by name: `exp_avg.layers.0.…`, `step.layers.0.…` and so on."""
    for name, parameter in model.named_parameters():
        for kind, tensor in optimizer.state.get(parameter, {}).items():
            yield f"{kind}.{name}", tensor


def restore_moments(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Puts back what `moments` gave. Raises `ValueError` for a name that is no parameter of the model."""
    parameters = dict(model.named_parameters())
    for key, tensor in tensors.items():
        kind, _, name = key.partition(".")
        if name not in parameters:
            raise ValueError(f"the optimiser remembers {name!r}, which the model does not have")
        parameter = parameters[name]
        optimizer.state[parameter][kind] = tensor.to(parameter.device)
