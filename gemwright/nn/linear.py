"""The linear map that every block is made of, and that a built model's swaps replace."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

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
