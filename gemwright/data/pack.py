"""Tokenised documents become flat rows of bounded length, in an order that a cursor restores exactly.

A document is predicted token by token, its end piece included: the inputs are the begin piece and all tokens but the
last. One that is longer than a row is split into pieces; each piece is a document of its own in the `Span` (positions
restart, nothing is seen across the cut) and begins with the begin piece, as every prompt does later. Pieces are never
cut to fill a row: each goes to the open row that it fills best (after Ding et al., "Fewer truncations improve language
modeling", 2024). Where rows must all be equally long, the rest of a row is filler: a document of weight 0.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy
import torch

from gemwright.data.batch import Batch
from gemwright.data.tokens import TokenFile
from gemwright.ops.span import span

OPEN_ROWS = 64  # rows that wait for a piece that fits, at a time


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """How far the reading has come: `epoch` and the next `row` in it, both from 0; `source` names data and order."""

    source: str
    epoch: int
    row: int

    def to_json(self) -> dict[str, Any]:
        """The cursor as JSON values; `Cursor(**cursor.to_json())` is equal to it."""
        return asdict(self)


class Packer:
    """Rows of at most `row` tokens from a file of tokens, without end: each epoch has every piece once, in an order
    drawn from (`seed`, epoch).

    `filler`: pad rows to exactly `row` tokens. `split` counts the documents that are longer than a row.
    """

    def __init__(self, tokens: TokenFile, *, row: int, seed: int, filler: bool = False) -> None:
        if row < 2:
            raise ValueError(f"a row of {row} tokens teaches nothing")
        self._tokens, self._row, self._seed, self._filler = tokens, row, seed, filler
        self._pieces = _cut(tokens.starts, row)
        lengths = numpy.diff(tokens.starts)
        self.split = int((lengths > row).sum())
        self.source = f"{tokens.fingerprint()}/row={row}/seed={seed}/filler={int(filler)}"
        self._epoch, self._next = 0, 0
        self._rows = self._order(0)

    @property
    def pieces(self) -> int:
        """How many pieces an epoch has."""
        return len(self._pieces)

    @property
    def rows(self) -> int:
        """How many rows this epoch has (it differs a little from one to the next)."""
        return len(self._rows)

    @property
    def cursor(self) -> Cursor:
        """Where the next row comes from."""
        return Cursor(source=self.source, epoch=self._epoch, row=self._next)

    def seek(self, cursor: Cursor) -> None:
        """Goes on reading at `cursor`. Raises `ValueError` for one of other data, row length or seed."""
        if cursor.source != self.source:
            raise ValueError(f"the cursor reads {cursor.source}, the data are {self.source}")
        self._epoch, self._next = cursor.epoch, cursor.row
        self._rows = self._order(cursor.epoch)
        if not 0 <= cursor.row <= len(self._rows):
            raise ValueError(f"the cursor stands at row {cursor.row} of an epoch of {len(self._rows)} rows")

    def take(self, rows: int) -> Batch:
        """The next `rows` rows as one batch, across the end of an epoch where need be."""
        chosen: list[list[int]] = []
        for _ in range(rows):
            if self._next == len(self._rows):
                self._epoch, self._next = self._epoch + 1, 0
                self._rows = self._order(self._epoch)
            chosen.append(self._rows[self._next])
            self._next += 1
        return self._batch(chosen)

    def once(self, rows: int) -> Iterator[Batch]:
        """All pieces once, in an order that never changes, `rows` rows at a time: what an evaluation reads. The
        cursor does not move."""
        packed = _fill(range(len(self._pieces)), self._pieces[:, 1].tolist(), self._row)
        for first in range(0, len(packed), rows):
            yield self._batch(packed[first : first + rows])

    def _order(self, epoch: int) -> list[list[int]]:
        # As uint64: a list with a number above 2^63 would become floats, and seeds would share their order.
        key = numpy.array([self._seed & (2**64 - 1), epoch], dtype=numpy.uint64)
        generator = numpy.random.Generator(numpy.random.Philox(key=key))
        return _fill(generator.permutation(len(self._pieces)).tolist(), self._pieces[:, 1].tolist(), self._row)

    def _batch(self, rows: Sequence[Sequence[int]]) -> Batch:
        bos = self._tokens.meta.bos
        ids: list[numpy.ndarray] = []
        targets: list[numpy.ndarray] = []
        lengths: list[int] = []
        weights: list[float] = []
        for row in rows:
            room = self._row
            for number in row:
                start, length = self._pieces[number].tolist()
                target = self._tokens.ids[start : start + length].astype(numpy.int64)
                ids += [numpy.asarray([bos]), target[:-1]]
                targets.append(target)
                lengths.append(length)
                weights.append(1.0)
                room -= length
            if self._filler and room:
                ids.append(numpy.full(room, bos))
                targets.append(numpy.full(room, bos))
                lengths.append(room)
                weights.append(0.0)
        return Batch(
            ids=torch.from_numpy(numpy.concatenate(ids)),
            targets=torch.from_numpy(numpy.concatenate(targets)),
            weight=torch.from_numpy(numpy.repeat(numpy.asarray(weights, dtype=numpy.float32), lengths)),
            span=span(lengths),
        )


def _cut(starts: numpy.ndarray, row: int) -> numpy.ndarray:
    """Pieces int64 `[pieces, 2]`: first target and number of targets; a document is cut after every `row` of them."""
    lengths = numpy.diff(starts)
    counts = -(-lengths // row)  # ceil
    document = numpy.repeat(numpy.arange(len(lengths)), counts)
    within = numpy.arange(int(counts.sum())) - numpy.repeat(numpy.cumsum(counts) - counts, counts)
    first = within * row
    return numpy.stack([starts[:-1][document] + first, numpy.minimum(lengths[document] - first, row)], axis=1)


def _fill(order: Sequence[int], lengths: Sequence[int], row: int) -> list[list[int]]:
    """Rows of pieces: each piece goes to the open row that it leaves least room in; the fullest of too many open rows
    is closed."""
    closed: list[list[int]] = []
    waiting: list[tuple[int, int, list[int]]] = []  # sorted: room left, serial number, pieces
    for serial, number in enumerate(order):
        length = lengths[number]
        place = bisect_left(waiting, (length, -1))
        room, _, pieces = waiting.pop(place) if place < len(waiting) else (row, serial, [])
        pieces.append(number)
        if room == length:
            closed.append(pieces)
            continue
        insort(waiting, (room - length, serial, pieces))
        if len(waiting) > OPEN_ROWS:
            closed.append(waiting.pop(0)[2])
    return closed + [pieces for _, _, pieces in waiting]
