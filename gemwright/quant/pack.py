"""bfloat16 matrices in oneDNN's own layout: the same numbers, read from memory up to twice as fast.

Decoding reads every weight for every token. A plain bfloat16 matrix is read at about half of what the memory gives; in
the blocked layout the same product comes near to it, and a gelu behind it costs nothing.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemwright.nn.decoder import Decoder
from gemwright.nn.linear import Linear, samples

_mkldnn = torch.ops.mkldnn


class PackedLinear(nn.Module):
    """A `Linear` whose matrix is packed, for inference on a CPU. It has no parameters: nothing exports or trains it."""

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        self._samples = samples(linear)
        self._packed = _mkldnn._reorder_linear_weight(linear.weight.detach(), 1)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Float[Tensor, "N I"]) -> Float[Tensor, "N O"]:
        """`x @ weight.T + bias`. Raises `ValueError` where a gradient is wanted."""
        return self._product(x, "none", "")

    def gelu(self, x: Float[Tensor, "N I"]) -> Float[Tensor, "N O"]:
        """The tanh form of gelu, taken before the product is rounded."""
        return self._product(x, "gelu", "tanh")

    def _product(self, x: Tensor, activation: str, form: str) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled():  # oneDNN's product would drop it without a word
            raise ValueError("a packed model has no gradients: train the plain one that loading.load_model gives")
        return _mkldnn._linear_pointwise(x, self._packed, self._bias, activation, [], form)

    def samples(self) -> dict[str, Tensor]:
        """What a digest reads: the elements that the plain matrix has."""
        return self._samples

    def weight(self) -> Float[Tensor, "O I"]:
        """A plain copy of the matrix, bit for bit what was packed."""
        return self._packed.to_dense()


def can_pack(model: Decoder) -> bool:
    """Is this a bfloat16 model on a CPU whose oneDNN computes in bfloat16?"""
    table = model.embed.weight
    return (
        table.device.type == "cpu"
        and table.dtype == torch.bfloat16
        and torch.backends.mkldnn.is_available()
        and _mkldnn._is_mkldnn_bf16_supported()
    )


def pack(model: Decoder) -> None:
    """Swap every bfloat16 matrix of the blocks for its packed form, one at a time: never two copies of the model.

    The table stays plain, for the lookup reads its rows.
    """
    for block in model.layers:
        for parent in list(block.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, Linear) and child.weight.dtype == torch.bfloat16:
                    setattr(parent, name, PackedLinear(child))
