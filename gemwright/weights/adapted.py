"""A source of weights with an adapter's addends in it: whatever reads it, block of rows by block of rows, gets the sum.

So an adapter is merged on the way into a model, into its packed forms too, with one rounding and without a second copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gemwright.ops.low_rank import Adapter, LowRank
from gemwright.weights.names import Names
from gemwright.weights.stream import CHUNK, PackedSource, Source, blocks, is_packed


class AdaptedSource:
    """See `weights.stream.Source`. `view` gives sums in float32 (float64 from float64), `dtype` the file's own."""

    def __init__(self, source: Source, names: Names, adapter: Adapter) -> None:
        """Raises `KeyError` for a module that the names do not hold."""
        self.source = source
        self.pairs = {names.theirs(f"{path}.weight"): pair for path, pair in adapter.modules.items()}

    @property
    def path(self) -> Path:
        """Where the weights are."""
        return self.source.path

    def names(self) -> list[str]:
        """Every tensor's name."""
        return self.source.names()

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape."""
        return self.source.shape(name)

    def dtype(self, name: str) -> torch.dtype:
        """The dtype in which a tensor is stored; a packed one that is added to counts as bfloat16."""
        packed = name in self.pairs and is_packed(self.source, name)
        return torch.bfloat16 if packed else self.source.dtype(name)

    def view(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows [start, stop) of a tensor, or of the sum."""
        rows = self.source.view(name, start, stop)
        return self.pairs[name].added(rows, start) if name in self.pairs else rows

    def release(self, name: str, start: int = 0, stop: int | None = None) -> None:
        """Let go of the memory behind rows that have been read."""
        self.source.release(name, start, stop)


class AdaptedPackedSource(AdaptedSource):
    """See `weights.stream.PackedSource`. A matrix that is added to is not packed any more: rounding the sum to the
    form again would lose a part of the adapter."""

    source: PackedSource

    def kind(self, name: str) -> str:
        """A tensor's form; the word for float32 where `view` gives a sum, which no bytes of the file hold."""
        return "F32" if name in self.pairs else self.source.kind(name)

    def raw(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows [start, stop) as bytes. Raises `ValueError` for a matrix that is added to."""
        if name in self.pairs:
            raise ValueError(f"the bytes of {name} lack its addend")
        return self.source.raw(name, start, stop)

    def scales(self, name: str, start: int = 0, stop: int | None = None) -> Tensor | None:
        """The scales of these rows."""
        return self.source.scales(name, start, stop)

    def bytes(self, name: str) -> int:
        """Bytes of a tensor in the file."""
        return self.source.bytes(name)


def adapted(source: Source, names: Names, adapter: Adapter) -> AdaptedSource:
    """The source with the adapter in it; `source` is left as it is."""
    kind = AdaptedPackedSource if isinstance(source, PackedSource) else AdaptedSource
    return kind(source, names, adapter)


@dataclass(frozen=True, kw_only=True)
class Delta:
    """What an adapter does to one matrix: Frobenius norms of the addend and of the matrix."""

    module: str
    rank: int
    delta: float
    weight: float

    @property
    def share(self) -> float:
        """How large the addend is beside the matrix; infinite on a matrix of zeros, not a number for nothing on it."""
        if self.weight:
            return self.delta / self.weight
        return float("nan") if self.delta == 0 else float("inf")


def deltas(source: Source, names: Names, adapter: Adapter) -> Iterator[Delta]:
    """The size of each addend, module by module; the matrices are read in blocks of rows."""
    for path, pair in adapter.modules.items():
        yield Delta(
            module=path, rank=pair.rank, delta=pair.norm(), weight=_norm(source, names.theirs(f"{path}.weight"), pair)
        )


def _norm(source: Source, name: str, pair: LowRank) -> float:
    total = 0.0
    for start, stop in blocks(pair.b.shape[0], 8 * pair.a.shape[1], CHUNK):
        total += float(source.view(name, start, stop).double().square().sum())
        source.release(name, start, stop)
    return total**0.5
