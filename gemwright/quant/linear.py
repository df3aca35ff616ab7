"""Modules whose matrices are packed. They have no parameters: nothing exports or trains them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from gemwright.nn.embed import Embedding
from gemwright.nn.linear import SAMPLES, Linear
from gemwright.ops.matmul import Form, Matrix
from gemwright.ops.native import calls
from gemwright.ops.native import matrix as native

Shape = tuple[Form, int, int]  # of a matrix: form, outputs, columns


def make_matrices(shapes: dict[str, Shape], device: torch.device) -> dict[str, Matrix]:
    """Empty matrices, in the layout that is read fastest here."""
    able = calls.available() and device.type in ("cpu", "meta")
    fast = {name: shape for name, shape in shapes.items() if able and shape[0] in native.FORMS}
    sizes = [size for shape in fast.values() for size in native.room(*shape)]
    memory = native.Memory(sum(size + 64 for size in sizes)) if sizes and device.type == "cpu" else None
    return {
        name: native.Matrix(*shape, device, memory) if name in fast else Matrix(*shape, device)
        for name, shape in shapes.items()
    }


def _sampled(matrix: Matrix) -> Tensor:
    """The elements that `nn.linear.samples` takes of the plain matrix: bfloat16 packed has the digest of bfloat16."""
    places = range(0, matrix.outputs * matrix.columns, max(1, matrix.outputs * matrix.columns // SAMPLES))
    where = [divmod(place, matrix.columns) for place in places]
    return torch.stack([matrix.read(row, row + 1)[0, column] for row, column in where])


def _refuse_gradients(x: Tensor) -> None:
    if x.requires_grad and torch.is_grad_enabled():
        raise ValueError("a packed model has no gradients: train the plain one that loading.load_model gives")


class PackedLinear(nn.Module):
    """`x @ matrix.T + bias`, in place of a `Linear`."""

    def __init__(self, matrix: Matrix, linear: Linear) -> None:
        super().__init__()
        self.matrix = matrix
        bias = None if linear.bias is None else linear.bias.detach().float()
        self.bias = native.padded(bias) if isinstance(matrix, native.Matrix) else bias

    def forward(self, x: Float[Tensor, "N I"]) -> Float[Tensor, "N O"]:
        """In x's dtype; the sums are float32. Raises `ValueError` where a gradient is wanted."""
        _refuse_gradients(x)
        return self.matrix.product(x, self.bias).to(x.dtype)

    def gelu(self, x: Float[Tensor, "N I"]) -> Float[Tensor, "N O"]:
        """The same, through the tanh form of gelu."""
        _refuse_gradients(x)
        return self.matrix.product(x, self.bias, gelu=True).to(x.dtype)

    def samples(self) -> dict[str, Tensor]:
        """What a digest reads: see `nn.linear.samples`."""
        out = {"weight": _sampled(self.matrix)}
        if self.bias is not None:
            bias = self.bias[: self.matrix.outputs]
            out["bias"] = bias[:: max(1, len(bias) // SAMPLES)]
        return out


class PackedEmbedding(nn.Module):
    """The tied table, packed once for both its ends. Activations begin as float32 here."""

    dtype = torch.bfloat16  # in which memory of these activations is kept

    def __init__(self, matrix: Matrix, embed: Embedding) -> None:
        super().__init__()
        self.matrix = matrix
        self._scale = embed.rounded_scale(self.dtype)

    @property
    def vocab(self) -> int:
        """V, the rows."""
        return self.matrix.outputs

    @property
    def device(self) -> torch.device:
        """Where the table lies."""
        return self.matrix.device

    def forward(self, ids: Int64[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """int64 `[N]` → float32 `[N, D]`."""
        return self.matrix.lookup(ids, self._scale)

    def scores(self, hidden: Float[Tensor, "M D"]) -> Float[Tensor, "M V"]:
        """`[M, D]` → float32 `[M, V]`, unscaled, uncapped."""
        _refuse_gradients(hidden)
        return self.matrix.product(hidden)

    def samples(self) -> dict[str, Tensor]:
        """What a digest reads."""
        return {"weight": _sampled(self.matrix)}
