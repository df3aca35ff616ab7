"""What adapters add to the products of a step whose rows have different ones: `W x + scale · B (A x)` for a row with an
adapter, `W x` for a row without.

The addend is float32, of x as it is before it is rounded for the product. This is the plain reference; blocks in native
calls have their own (source/low_rank.h), whose rows know nothing of each other.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from gemwright.ops.low_rank import LowRank
from gemwright.ops.native import calls, structs

_UNIT = 32  # outputs are padded to a multiple of it, as the kernels read them


Product = Callable[[Tensor], Tensor]


class Addend:
    """One adapter's addend to one matrix, in float32 on the device that it is used on."""

    def __init__(self, pair: LowRank, device: torch.device | str) -> None:
        self.outputs, self.rank = pair.b.shape
        self.a = pair.a.detach().to(device, torch.float32, copy=True).contiguous()
        self.b = torch.zeros(self.rank, -(-self.outputs // _UNIT) * _UNIT, device=device)  # transposed
        self.b[:, : self.outputs] = pair.scale * pair.b.detach().float().T

    def __call__(self, x: Float[Tensor, "n I"]) -> Float[Tensor, "n O"]:
        """`scale · B A x` of each row, float32."""
        return (x.float() @ self.a.T) @ self.b[:, : self.outputs]

    def struct(self) -> structs.Addend:
        """The kernels' view of it. It owns nothing."""
        return structs.Addend(self.rank, self.b.shape[1], calls.address(self.a), calls.address(self.b))

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.a.nbytes + self.b.nbytes


Layer = Mapping[str, Mapping[int, Addend]]
"""The addends of one block: a module's path in it ("mixer.query"), an adapter's number → its addend."""


class Addends:
    """The addends of one block in one step."""

    def __init__(self, layer: Layer, rows: Int64[Tensor, " N"], groups: Mapping[int, Int64[Tensor, " n"]]) -> None:
        """rows int64 `[N]`: each row's adapter, -1 for none. groups: the rows of each adapter that is there."""
        self._layer, self._rows, self._groups = layer, rows, groups
        self._kept: list[object] = []  # what the kernels are given addresses of

    def add(self, name: str, x: Float[Tensor, "N I"], made: Float[Tensor, "N O"]) -> Float[Tensor, "N O"]:
        """x `[N, I]` and the product `made` of it `[N, O]` → the sum, rounded once to the product's dtype. Rows without
        an addend keep their bits."""
        for number, where in self._of(name):
            share = self._layer[name][number](x[where])
            made = made.index_copy(0, where, (made[where] + share).to(made.dtype))
        return made

    def gelu(self, name: str, x: Float[Tensor, "N I"], product: Product, made: Tensor) -> Float[Tensor, "N O"]:
        """`made`, the product of x `[N, I]` through the tanh form of gelu, with the addends inside: their rows are
        multiplied again."""
        for number, where in self._of(name):
            some = x[where]
            inside = product(some)
            inside = (inside + self._layer[name][number](some)).to(inside.dtype)
            made = made.index_copy(0, where, F.gelu(inside, approximate="tanh"))
        return made

    def at(self, rows: Int64[Tensor, " M"]) -> Addends:
        """Those of some of the rows, int64 `[M]`."""
        own = self._rows[rows]
        return Addends(self._layer, own, _groups(own))

    def _of(self, name: str) -> list[tuple[int, Tensor]]:
        own = self._layer.get(name, {})
        return [(number, where) for number, where in self._groups.items() if number in own]

    # ------------------------------------------------------------------------------------------- for native calls

    @property
    def most(self) -> int:
        """The largest rank in this block."""
        return max(addend.rank for own in self._layer.values() for addend in own.values())

    def address(self, *names: str) -> int:
        """Where the kernels find the addends of these matrices; 0 where no row has one. Of use while this object
        lives."""
        if not any(self._of(name) for name in names):
            return 0
        count = 1 + max(self._groups)
        table = (structs.Addend * (len(names) * count))()  # rank 0: none
        for matrix, name in enumerate(names):
            for number, _ in self._of(name):
                table[matrix * count + number] = self._layer[name][number].struct()
        found = structs.Adapters(count, self.most, calls.address(self._rows), ctypes.addressof(table))
        self._kept += [table, found]
        return ctypes.addressof(found)


def _groups(rows: Int64[Tensor, " N"]) -> dict[int, Tensor]:
    return {number: (rows == number).nonzero()[:, 0] for number in rows.unique().tolist() if number >= 0}


class Chosen:
    """The adapters of a step's rows."""

    def __init__(self, layers: Sequence[Layer], rows: Int64[Tensor, " N"]) -> None:
        """`layers`: the addends of every block. rows int64 `[N]`: each row's adapter, -1 for none."""
        self.rows = rows
        self._layers = layers
        self._groups = _groups(rows)

    def layer(self, index: int) -> Addends | None:
        """Those of one block; None where no row has one there."""
        layer = self._layers[index]
        if not any(number in own for own in layer.values() for number in self._groups):
            return None
        return Addends(layer, self.rows, self._groups)


def with_addends(product: Product, x: Float[Tensor, "N I"], addends: Addends | None, name: str) -> Float[Tensor, "N O"]:
    """`product(x)`, `[N, I]` → `[N, O]`, with the addends of the module called `name`."""
    made = product(x)
    return made if addends is None else addends.add(name, x, made)
