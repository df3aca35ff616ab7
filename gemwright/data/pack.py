"""Tokenised documents become flat rows of bounded length, in an order that a cursor restores exactly.

A document is predicted token by token, its end piece included: the inputs are the begin piece and all tokens but the
last. One that is longer than a row is split into pieces; each piece is a document of its own in the `Span` (positions
restart, nothing is seen across the cut) and begins with the begin piece, as every prompt does later. A piece in which
nothing is learnt (of a long question, say) is left out, since nothing that is learnt sees it. A picture is never split:
a piece ends before it. Pieces are never cut to fill a row: each goes to the open row that it fills best (after Ding et
al., "Fewer truncations improve language modeling", 2024). Where rows must all be equally long, the rest of a row is
filler: a document of weight 0.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import accumulate, islice
from typing import Any, Protocol

import numpy
import torch

from gemwright.data.batch import Batch, Row
from gemwright.data.cut import cut
from gemwright.data.pictures import Shown
from gemwright.data.tokens import TokenFile
from gemwright.ops.span import Image, span

OPEN_ROWS = 64  # rows that wait for a piece that fits, at a time


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """How far the reading has come: `epoch` and the next `row` in it; `serial` and `tokens`: rows and tokens taken in
    all, filler not counted; everything from 0. `source` names data and order; `parts` are the cursors of a mixture's
    parts, which alone have epochs."""

    source: str
    epoch: int
    row: int
    serial: int
    tokens: int
    parts: tuple[Cursor, ...]

    def to_json(self) -> dict[str, Any]:
        """The cursor as JSON values; `Cursor.from_json(cursor.to_json())` is equal to it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Cursor:
        """The cursor that `to_json` gave. Raises `ValueError` for something else."""
        if values.keys() != {field.name for field in fields(cls)}:
            raise ValueError(f"a cursor has other fields than {', '.join(values)}")
        known: dict[str, Any] = values | {"parts": tuple(cls.from_json(part) for part in values["parts"])}
        return cls(**known)


class Rows(Protocol):
    """Packed rows without end: one file of tokens (`Packer`) or several (`Mixture`).

    `split` counts the documents that are longer than a row; `source` names data and order; `pieces` and `rows` say how
    many an epoch has (a mixture: the sum over its parts). Only `take` and `seek` move the cursor.
    """

    source: str
    split: int

    @property
    def pieces(self) -> int: ...

    @property
    def rows(self) -> int: ...

    @property
    def cursor(self) -> Cursor: ...

    def seek(self, cursor: Cursor) -> None: ...

    def take(self, rows: int) -> Batch: ...

    def once(self, rows: int) -> Iterator[Batch]: ...


@dataclass(frozen=True, kw_only=True)
class Packed:
    """One row: `ids`, `targets` int64 and `weight` float32, `[N]`; `lengths` of its pieces, filler the last of them;
    `tokens`: N without filler; `images`: where pictures stand, by the number of the piece in the row, and `pictures`,
    which they are."""

    ids: numpy.ndarray
    targets: numpy.ndarray
    weight: numpy.ndarray
    lengths: tuple[int, ...]
    tokens: int
    images: tuple[Image, ...]
    pictures: tuple[Shown, ...]


def join(rows: Sequence[Packed], first: int) -> Batch:
    """Rows as one batch; `first` is the serial number of the first."""
    before = accumulate((len(row.lengths) for row in rows), initial=0)  # pieces
    images = [
        image._replace(document=image.document + pieces)
        for row, pieces in zip(rows, before, strict=False)
        for image in row.images
    ]
    return Batch(
        ids=torch.from_numpy(numpy.concatenate([row.ids for row in rows])),
        targets=torch.from_numpy(numpy.concatenate([row.targets for row in rows])),
        weight=torch.from_numpy(numpy.concatenate([row.weight for row in rows])),
        span=span([length for row in rows for length in row.lengths], images=images),
        rows=tuple(Row(serial=serial, tokens=len(row.ids)) for serial, row in enumerate(rows, start=first)),
        pictures=tuple(shown for row in rows for shown in row.pictures),
    )


def batches(packed: Iterable[Packed], rows: int) -> Iterator[Batch]:
    """All of `packed`, `rows` rows at a time, numbered from 0."""
    waiting, first = iter(packed), 0
    while chosen := list(islice(waiting, rows)):
        yield join(chosen, first)
        first += len(chosen)


class Packer:
    """Rows of at most `row` tokens from a file of tokens, without end: each epoch has every piece once, in an order
    drawn from (`seed`, epoch).

    `filler`: pad rows to exactly `row` tokens. `split` counts the documents that are longer than a row.
    """

    def __init__(self, tokens: TokenFile, *, row: int, seed: int, filler: bool = False) -> None:
        if row < 2:
            raise ValueError(f"a row of {row} tokens teaches nothing")
        self._file, self._row, self._seed, self._filler = tokens, row, seed, filler
        self._pieces = cut(tokens, row)
        lengths = numpy.diff(tokens.starts)
        self.split = int((lengths > row).sum())
        self.source = f"{tokens.fingerprint()}/row={row}/seed={seed}/filler={int(filler)}"
        self._epoch = self._next = self._serial = 0
        self.tokens = 0  # taken so far, filler not counted
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
        return Cursor(
            source=self.source, epoch=self._epoch, row=self._next, serial=self._serial, tokens=self.tokens, parts=()
        )

    def seek(self, cursor: Cursor) -> None:
        """Goes on reading at `cursor`. Raises `ValueError`, and does not move, for one of other data, row length or
        seed."""
        if cursor.source != self.source:
            raise ValueError(f"the cursor reads {cursor.source}, the data are {self.source}")
        rows = self._order(cursor.epoch)
        if not 0 <= cursor.row <= len(rows):
            raise ValueError(f"the cursor stands at row {cursor.row} of an epoch of {len(rows)} rows")
        self._rows, self._epoch, self._next = rows, cursor.epoch, cursor.row
        self._serial, self.tokens = cursor.serial, cursor.tokens

    def take(self, rows: int) -> Batch:
        """The next `rows` rows as one batch, across the end of an epoch where need be."""
        first = self._serial
        return join([self.next() for _ in range(rows)], first)

    def next(self) -> Packed:
        """The next row."""
        if self._next == len(self._rows):
            self._epoch, self._next = self._epoch + 1, 0
            self._rows = self._order(self._epoch)
        packed = self._packed(self._rows[self._next])
        self._next += 1
        self._serial += 1
        self.tokens += packed.tokens
        return packed

    def once(self, rows: int) -> Iterator[Batch]:
        """All pieces once, in an order that never changes, `rows` rows at a time: what an evaluation reads. The rows
        are numbered from 0; the cursor does not move."""
        return batches(self.all(), rows)

    def all(self) -> Iterator[Packed]:
        """The rows that `once` gives."""
        for row in _fill(range(len(self._pieces)), self._pieces[:, 1].tolist(), self._row):
            yield self._packed(row)

    def _order(self, epoch: int) -> list[list[int]]:
        # As uint64: a list with a number above 2^63 would become floats, and seeds would share their order.
        key = numpy.array([self._seed & (2**64 - 1), epoch], dtype=numpy.uint64)
        generator = numpy.random.Generator(numpy.random.Philox(key=key))
        return _fill(generator.permutation(len(self._pieces)).tolist(), self._pieces[:, 1].tolist(), self._row)

    def _packed(self, row: Sequence[int]) -> Packed:
        bos = numpy.asarray([self._file.meta.bos])
        ids: list[numpy.ndarray] = []
        targets: list[numpy.ndarray] = []
        weight: list[numpy.ndarray] = []
        images: list[tuple[Image, Shown]] = []
        for number, (start, length) in enumerate(self._pieces[row].tolist()):
            images += self._seen(number, start, length)
            target = self._file.ids[start : start + length].astype(numpy.int64)
            ids += [bos, target[:-1]]
            targets.append(target)
            loss = self._file.loss
            learnt = numpy.ones(length) if loss is None else loss[start : start + length]
            weight.append(learnt.astype(numpy.float32))
        lengths = [len(target) for target in targets]
        tokens = sum(lengths)
        if self._filler and tokens < self._row:
            room = self._row - tokens
            ids.append(bos.repeat(room))
            targets.append(bos.repeat(room))
            weight.append(numpy.zeros(room, dtype=numpy.float32))
            lengths.append(room)
        return Packed(
            ids=numpy.concatenate(ids),
            targets=numpy.concatenate(targets),
            weight=numpy.concatenate(weight),
            lengths=tuple(lengths),
            tokens=tokens,
            images=tuple(image for image, _ in images),
            pictures=tuple(shown for _, shown in images),
        )

    def _seen(self, piece: int, start: int, length: int) -> list[tuple[Image, Shown]]:
        """The pictures among some tokens, which are the row's piece of that number; the begin piece comes first."""
        places, count = self._file.places, self._file.meta.picture_tokens
        if not len(places):
            return []
        low, high = numpy.searchsorted(places[:, 0], (start, start + length))
        return [
            (Image(piece, place - start + 1, count), self._file.shown[number])
            for place, number in places[low:high].tolist()
        ]


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
