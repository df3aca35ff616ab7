"""The linear map that every block is made of, and that a built model's swaps replace."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SAMPLES = 64  # elements of a parameter that a digest reads


def sample(parameter: Tensor) -> Tensor:
    """Evenly spaced elements of a parameter, float32."""
    flat = parameter.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // SAMPLES)].float().cpu()


class Linear(nn.Linear):
    """`x @ weight.T + bias`."""

    def gelu(self, x: Float[Tensor, "N I"]) -> Float[Tensor, "N O"]:
        """The same, through the tanh form of gelu: a swap may do both in one pass."""
        return F.gelu(self(x), approximate="tanh")

    def samples(self) -> dict[str, Tensor]:
        """What a digest reads of each parameter."""
        return {name: sample(parameter) for name, parameter in self.named_parameters(recurse=False)}
