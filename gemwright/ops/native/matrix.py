"""A packed matrix in the layout that the kernels stream through."""

from __future__ import annotations

import ctypes

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from gemwright.ops import matmul
from gemwright.ops.native import calls, library, structs

FORMS: tuple[matmul.Form, ...] = tuple(form for form in matmul.FORMS if form in structs.FORMATS)
"""The forms that there are kernels for."""
_UNIT = 32  # outputs are padded to a multiple of it, with zeros
_HEAD = 64  # bytes of a unit's head in bfloat16 (source/lossless.h), the third eight of them an address
_HUGE = 2 << 20  # bytes of a large page


class Memory:
    """Room for many matrices in one piece, on large pages where the system has such: streaming through small ones, the
    processor looks up a new page for every 4 KB. Pages are taken when they are first written."""

    def __init__(self, size: int) -> None:
        """`size`: bytes (see `Matrix.room`)."""
        whole = torch.empty(size + _HUGE, dtype=torch.uint8)
        skip = -calls.address(whole) % _HUGE
        self._free = whole[skip : skip + size]
        calls.advise_large(self._free)

    def take(self, size: int) -> Tensor:
        """uint8 `[size]`, at a multiple of 64 bytes. Raises `ValueError` when nothing is left."""
        if size > len(self._free):
            raise ValueError(f"{size} bytes are not left among {len(self._free)}")
        out, self._free = self._free[:size], self._free[_aligned(size) :]
        return out


def _aligned(size: int) -> int:
    return -(-size // 64) * 64


def room(form: matmul.Form, outputs: int, columns: int) -> tuple[int, int]:
    """Bytes of a matrix's codes and of its scales, or heads."""
    padded = -(-outputs // _UNIT) * _UNIT
    codes = {"bf16": columns * 3 // 2, "q4_0": columns // 2, "int4": columns // 2}
    scales = {"bf16": _HEAD // _UNIT, "q8_0": columns // 16, "q4_0": columns // 16, "int8": 4, "int4": 4}
    return padded * codes.get(form, columns), padded * scales.get(form, 0)


class Matrix(matmul.Matrix):
    """Tiles of 16 outputs, see source/matrix.h. bfloat16 is held in 12 bits, without loss, and what these do not cover
    (one weight in some thousands) beside them: its rows are written in whole units of 32."""

    def __init__(
        self,
        form: matmul.Form,
        outputs: int,
        columns: int,
        device: torch.device | str = "cpu",
        memory: Memory | None = None,
    ) -> None:
        """`memory`: where to lie; default: room of its own. Raises `ValueError` for columns in no whole groups."""
        self._memory = memory
        super().__init__(form, outputs, columns, device)

    def _allocate(self, device: torch.device | str) -> None:
        sizes = room(self.form, self.outputs, self.columns)
        make = self._memory.take if self._memory else lambda size: torch.empty(size, dtype=torch.uint8, device=device)
        self.data, scales = (make(size) for size in sizes)
        kinds = {"bf16": torch.int64, "q8_0": torch.float16, "q4_0": torch.float16}
        self.scales = scales.view(kinds.get(self.form, torch.float32))
        self._extras: list[Tensor] = []
        del self._memory
        if self.data.device.type != "cpu":
            return
        if self.form == "bf16":
            self.scales.zero_()  # heads that point nowhere
        elif self.outputs % _UNIT:
            # Outputs that do not exist: their codes stand for 0, their scales are 0.
            self.data.zero_()
            self.scales.zero_()

    def struct(self, bias: Float32[Tensor, " O"] | None = None) -> structs.Matrix:
        """The kernels' view of it. It owns nothing: keep this matrix and the bias alive beside it."""
        return structs.Matrix(
            structs.FORMATS[self.form],
            self.outputs,
            self.columns,
            calls.address(self.data),
            calls.address(self.scales),
            None if bias is None else calls.address(bias),
        )

    @property
    def together(self) -> int:
        """Rows that are packed together: `write` begins at a multiple, and ends at one or with the last row."""
        return _UNIT if self.form == "bf16" else 1

    def _put(self, start: int, data: Tensor) -> None:
        kernels, struct = library.best(), self.struct()
        assert kernels is not None, "made only where there are kernels"
        stop, threads = start + len(data), torch.get_num_threads()
        if self.form != "bf16":
            kernels.gw_pack(ctypes.byref(struct), start, stop, data.data_ptr(), data.shape[1], threads)
            return
        if start % _UNIT or (stop % _UNIT and stop != self.outputs):
            raise ValueError(f"rows {start} … {stop - 1} are not whole units of {_UNIT}")
        first, last = start // _UNIT, -(-stop // _UNIT)
        # Room for the worst case, of which pages are taken as they are needed: next to none.
        extra, used = torch.empty((last - first) * _UNIT * data.shape[1], dtype=torch.uint8), ctypes.c_int64()
        kernels.gw_pack_bf16(
            ctypes.byref(struct), start, stop, data.data_ptr(), extra.data_ptr(), ctypes.byref(used), threads
        )
        extra = extra[: used.value].clone()
        self.scales.view(-1, _HEAD // 8)[first:last, 2] += extra.data_ptr()
        self._extras.append(extra)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return super().nbytes + sum(extra.nbytes for extra in self._extras)

    def read(self, start: int = 0, stop: int | None = None) -> Float32[Tensor, "n I"]:
        """Rows start … stop - 1, as values."""
        stop = self.outputs if stop is None else stop
        kernels, struct = library.best(), self.struct()
        assert kernels is not None, "made only where there are kernels"
        out = torch.empty(stop - start, self.columns)
        kernels.gw_unpack(ctypes.byref(struct), start, stop, out.data_ptr())
        return out

    def lookup(self, ids: Int64[Tensor, " n"], scale: float) -> Float32[Tensor, "n I"]:
        """These rows, times `scale`."""
        struct = self.struct()
        return calls.lookup(ids, ctypes.addressof(struct), self.columns, scale)

    def product(
        self, x: Float[Tensor, "N I"], bias: Float32[Tensor, " O"] | None = None, *, gelu: bool = False
    ) -> Float32[Tensor, "N O"]:
        """`x @ matrix.T + bias`, through the tanh form of gelu if asked."""
        whole = padded(bias)  # the struct does not own it
        struct = self.struct(whole)
        room = calls.room(calls.rows_bytes(len(x), self.columns, self.form))
        return calls.linear(x.float().contiguous(), ctypes.addressof(struct), self.outputs, gelu, room)


def padded(bias: Tensor | None) -> Tensor | None:
    """A bias as the kernels read it: float32, zeros up to whole units."""
    if bias is None or (len(bias) % _UNIT == 0 and bias.dtype == torch.float32 and bias.is_contiguous()):
        return bias
    out = torch.zeros(-(-len(bias) // _UNIT) * _UNIT)
    out[: len(bias)] = bias.detach()
    return out
