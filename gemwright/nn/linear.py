"""The linear map that every block is made of, and that a built model's swaps replace."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gemwright.ops.addends import Addends, with_addends
from gemwright.ops.pointwise import gated

SAMPLES = 64  # elements of a parameter that a digest reads


def samples(module: nn.Module) -> dict[str, Tensor]:
    """What a digest reads of a module's own parameters: evenly spaced elements of each, float32."""
    flat = {name: parameter.detach().reshape(-1) for name, parameter in module.named_parameters(recurse=False)}
    return {name: value[:: max(1, value.numel() // SAMPLES)].float().cpu() for name, value in flat.items()}


class Linear(nn.Linear):
    """`x @ weight.T + bias`."""

    def gelu(self, x: Float[Tensor, "N I"]) -> Float[Tensor, "N O"]:
        """The same, through the tanh form of gelu: a swap may do both in one pass."""
        return F.gelu(self(x), approximate="tanh")


@runtime_checkable  # the shape checks of the tests ask isinstance
class Gate(Protocol):
    """A linear map, or a swap in its place."""

    def __call__(self, x: Tensor, /) -> Tensor: ...

    def gelu(self, x: Tensor, /) -> Tensor: ...


def gated_by(
    gate: Gate, x: Float[Tensor, "N I"], up: Float[Tensor, "N F"], addends: Addends | None, name: str
) -> Float[Tensor, "N F"]:
    """`gelu_tanh(gate(x)) * up`, the gate with the addends of the module called `name`. Where a gradient may be wanted
    gelu meets `up` in one pass, else in the product of `gate`, which may be a swap that does both at once."""
    if torch.is_grad_enabled():
        made = with_addends(gate, x, addends, name)
        return gated(made, up.to(made.dtype))
    opened = gate.gelu(x)
    return (opened if addends is None else addends.gelu(name, x, gate, opened)) * up
