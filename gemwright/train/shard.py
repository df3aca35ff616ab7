"""One file of a store: what a teacher drew at every position of some rows, in whole columns.

Little-endian, one after the other: the magic word; how many rows, tokens and entries, int64; the token at which each
row begins, int64 `[rows + 1]`; the entry at which each token begins, uint32 `[tokens + 1]`; then of each entry its
log-probability, float16, its count less one, a byte, and its id, in two bytes where the vocabulary allows it, else
three. An entry is a different id drawn at one position, ids ascending; a token that nothing is learnt at has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy

MAGIC = b"GWDRAWS1"
MOST = 256  # draws of a position: a byte holds a count less one


@dataclass(frozen=True, kw_only=True)
class RowDraws:
    """A row's draws: `entries` int64 `[tokens]`, how many different ids at each token; `ids` int64, `counts` int64 and
    `logprobs` float, one after the other over the tokens."""

    entries: numpy.ndarray
    ids: numpy.ndarray
    counts: numpy.ndarray
    logprobs: numpy.ndarray


def id_bytes(vocab: int) -> int:
    """How many bytes an id takes. Raises `ValueError` for a vocabulary that three cannot hold."""
    if vocab > 1 << 24:
        raise ValueError(f"ids of a vocabulary of {vocab} do not fit in three bytes")
    return 2 if vocab <= 1 << 16 else 3


def encode(rows: list[RowDraws], vocab: int) -> bytes:
    """The bytes of a shard."""
    lengths = [len(row.entries) for row in rows]
    entries = numpy.concatenate([row.entries for row in rows])
    ids = numpy.concatenate([row.ids for row in rows]).astype("<u4")
    bytes_of_ids = numpy.ascontiguousarray(ids).view(numpy.uint8).reshape(-1, 4)[:, : id_bytes(vocab)]
    parts = [
        numpy.asarray([len(rows), len(entries), len(ids)], dtype="<i8"),
        numpy.concatenate([[0], numpy.cumsum(lengths)]).astype("<i8"),
        numpy.concatenate([[0], numpy.cumsum(entries)]).astype("<u4"),
        numpy.concatenate([row.logprobs for row in rows]).astype("<f2"),
        (numpy.concatenate([row.counts for row in rows]) - 1).astype(numpy.uint8),
        numpy.ascontiguousarray(bytes_of_ids),
    ]
    return MAGIC + b"".join(part.tobytes() for part in parts)


class Shard:
    """A shard's file, mapped. Raises `ValueError` for a file that is none, or whose parts do not fit together."""

    def __init__(self, path: Path, vocab: int) -> None:
        self._data = numpy.memmap(path, dtype=numpy.uint8, mode="r")
        self._at = len(MAGIC)
        if bytes(self._data[: self._at]) != MAGIC:
            raise ValueError("it does not begin as a shard")
        self.rows, self.tokens, self.entries = self._take("<i8", 3).tolist()
        self._starts = self._take("<i8", self.rows + 1)
        self._firsts = self._take("<u4", self.tokens + 1)
        self._logprobs = self._take("<f2", self.entries)
        self._counts = self._take("u1", self.entries)
        width = id_bytes(vocab)
        self._ids = self._take("u1", self.entries * width).reshape(-1, width)
        if self._at != len(self._data) or self._starts[-1] != self.tokens or self._firsts[-1] != self.entries:
            raise ValueError("its parts do not fit together")

    def row(self, number: int) -> RowDraws:
        """The draws of one of its rows, counted from 0."""
        begin, end = self._starts[number : number + 2].tolist()
        firsts = self._firsts[begin : end + 1].astype(numpy.int64)
        within = slice(int(firsts[0]), int(firsts[-1]))
        weights = 1 << (8 * numpy.arange(self._ids.shape[1]))
        return RowDraws(
            entries=numpy.diff(firsts),
            ids=self._ids[within].astype(numpy.int64) @ weights,
            counts=self._counts[within].astype(numpy.int64) + 1,
            logprobs=self._logprobs[within].astype(numpy.float32),
        )

    def _take(self, kind: str, count: int) -> numpy.ndarray:
        size = numpy.dtype(kind).itemsize * count
        if count < 0 or self._at + size > len(self._data):
            raise ValueError("it is cut short")
        self._at += size
        return self._data[self._at - size : self._at].view(kind)
