"""Products with packed matrices: the forms, what they stand for, and a plain reference in torch.

Weights of an integer form meet activations that are rounded to integers too, in groups of 32 with a scale of their own:
every processor multiplies small integers fastest. Weights in bfloat16 and SFP8 meet activations in bfloat16. Sums are
float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int8, Int64, UInt8
from torch import Tensor

from gemwright.ops import blocks
from gemwright.ops.channels import INT4, INT8, quantize_channels
from gemwright.ops.sfp8 import sfp8_lookup, sfp8_rows

Form = Literal["bf16", "q8_0", "q4_0", "int8", "int4", "sfp8"]
FORMS: tuple[Form, ...] = get_args(Form)
GROUP = 32  # columns that share a scale
_BLOCKS = {"q8_0": blocks.Q8_0, "q4_0": blocks.Q4_0}
_LEVELS = {"int8": INT8, "int4": INT4}
_SCALED = (*_LEVELS, "sfp8")  # forms with a scale for each row
_STEP = 1 << 22  # weights that are widened at once
_SMALL_STEP = 1 << 20  # the same where a table is looked up: what comes out of it stays in the cache


def row_bytes(form: Form, columns: int) -> int:
    """Bytes of a row before it is packed: bfloat16 values, GGUF's blocks, or a byte for each code."""
    if form in _BLOCKS:
        return _BLOCKS[form].row_bytes(columns)
    return 2 * columns if form == "bf16" else columns


def weight_bytes(form: Form, columns: int) -> int:
    """Bytes of a packed row, scales included."""
    if form in _BLOCKS:
        return _BLOCKS[form].row_bytes(columns)
    return {"bf16": 2 * columns, "int8": columns + 4, "int4": columns // 2 + 4, "sfp8": columns + 4}[form]


def encode(values: Float[Tensor, "O I"], form: Form) -> tuple[UInt8[Tensor, "O J"], Float32[Tensor, " O"] | None]:
    """Rows in the bytes that a matrix of this form is written from, and the scale of each row where it has one."""
    if form == "bf16":
        return values.to(torch.bfloat16).contiguous().view(torch.uint8), None
    if form in _BLOCKS:
        return blocks.quantize(values, _BLOCKS[form]), None
    if form == "sfp8":
        return sfp8_rows(values)
    codes, scales = quantize_channels(values, _LEVELS[form])
    return codes.view(torch.uint8), scales


def decode(data: UInt8[Tensor, "O J"], scales: Float32[Tensor, " O"] | None, form: Form) -> Float32[Tensor, "O I"]:
    """The values that the bytes stand for."""
    if form == "bf16":
        return data.view(torch.bfloat16).float()
    if form in _BLOCKS:
        return blocks.dequantize(data, _BLOCKS[form])
    assert scales is not None, "one scale for each row"
    if form == "sfp8":
        return sfp8_lookup(data).mul_(scales[:, None])
    return data.view(torch.int8) * scales[:, None]


def quantise_rows(x: Float[Tensor, "N I"]) -> tuple[Int8[Tensor, "N I"], Float32[Tensor, "N J"]]:
    """Activations as an integer product meets them: codes, and a scale for each group of 32 columns."""
    groups = x.float().unflatten(1, (-1, GROUP))
    most = groups.abs().amax(dim=2)
    # A quotient of tensors: torch turns 127 / most into a product with a rounded reciprocal.
    inverse = torch.where(most > 0, torch.full_like(most, 127.0) / most, 0.0)
    codes = (groups * inverse[..., None]).round().to(torch.int8)
    return codes.flatten(1), most / 127.0


def met(x: Float[Tensor, "N I"], form: Form) -> Float32[Tensor, "N I"]:
    """The activations that a product with a matrix of this form is made of, rounded as it rounds them."""
    if form in ("bf16", "sfp8"):
        return x.to(torch.bfloat16).float()
    codes, scales = quantise_rows(x)
    return (codes.unflatten(1, (-1, GROUP)) * scales[..., None]).flatten(1)


class Matrix:
    """A packed matrix `[outputs, columns]`, written once, row by row, and then read. Not a tensor: nothing trains it,
    nothing moves it. This one is the plain reference, and all that SFP8 has; `ops.native` has the others in a layout
    that is read at full speed.
    """

    def __init__(self, form: Form, outputs: int, columns: int, device: torch.device | str = "cpu") -> None:
        """Raises `ValueError` for columns that the form cannot cut into groups."""
        if columns % GROUP:
            raise ValueError(f"rows of {columns} columns are not whole groups of {GROUP}")
        self.form: Form = form
        self.outputs, self.columns = outputs, columns
        self._allocate(device)

    def _allocate(self, device: torch.device | str) -> None:
        size = row_bytes(self.form, self.columns)
        self.data = torch.empty(self.outputs, size, dtype=torch.uint8, device=device)
        self.scales = torch.empty(self.outputs if self.form in _SCALED else 0, dtype=torch.float32, device=device)

    together = 1
    """Rows that are packed together: `write` begins at a multiple, and ends at one or with the last row."""

    def write(self, start: int, rows: Float[Tensor, "n I"]) -> None:
        """Rows start, start + 1, … from their values."""
        self.write_bytes(start, *encode(rows, self.form))

    def write_bytes(self, start: int, data: UInt8[Tensor, "n J"], scales: Float32[Tensor, " n"] | None = None) -> None:
        """The same from `encode`'s bytes, or a file's blocks."""
        self._put(start, data.contiguous())
        if scales is not None:
            self.scales[start : start + len(scales)] = scales

    def _put(self, start: int, data: Tensor) -> None:
        self.data[start : start + len(data)] = data

    def read(self, start: int = 0, stop: int | None = None) -> Float32[Tensor, "n I"]:
        """Rows start … stop - 1, as values."""
        stop = self.outputs if stop is None else stop
        return decode(self.data[start:stop], self.scales[start:stop] if len(self.scales) else None, self.form)

    def lookup(self, ids: Int64[Tensor, " n"], scale: float) -> Float32[Tensor, "n I"]:
        """These rows, times `scale`."""
        return decode(self.data[ids], self.scales[ids] if len(self.scales) else None, self.form) * scale

    def product(
        self, x: Float[Tensor, "N I"], bias: Float32[Tensor, " O"] | None = None, *, gelu: bool = False
    ) -> Float32[Tensor, "N O"]:
        """`x @ matrix.T + bias`, through the tanh form of gelu if asked."""
        rows = met(x, self.form)
        out = rows.new_empty(len(rows), self.outputs)
        for start, stop in self.steps():  # nothing of a block outlives it: what is freed serves the next one
            out[:, start:stop] = F.linear(rows, self.read(start, stop))
        out = out if bias is None else out + bias
        return F.gelu(out, approximate="tanh") if gelu else out

    def steps(self) -> Iterator[tuple[int, int]]:
        """[start, stop) of the blocks of rows in which to read it."""
        step = max(1, (_SMALL_STEP if self.form == "sfp8" else _STEP) // self.columns)
        step = -(-step // self.together) * self.together
        return ((start, min(start + step, self.outputs)) for start in range(0, self.outputs, step))

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.data.nbytes + self.scales.nbytes

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.data.device

    def __deepcopy__(self, memo: object) -> Matrix:
        return self  # never written after it was filled
