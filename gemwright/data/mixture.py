"""Several files of tokens as one stream of rows, each with a share of the tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain

from gemwright.data.batch import Batch
from gemwright.data.pack import Cursor, Packer, batches, join
from gemwright.data.tokens import TokenFile


class Mixture:
    """Rows from several `parts`, each whole from one of them, without end; a part that is at its end begins again.

    The next row comes from the part that is furthest behind its share of the tokens (`weights`, relative to their
    sum). So the shares are kept at every moment, not only on average: after T tokens each part is within a row per
    part of its share of T. `row`, `seed` and `filler` mean what they mean to `Packer`, whose interface this is.
    """

    def __init__(
        self, parts: Sequence[TokenFile], weights: Sequence[float], *, row: int, seed: int, filler: bool = False
    ) -> None:
        if not parts or len(parts) != len(weights) or not all(0 < weight < float("inf") for weight in weights):
            raise ValueError(f"{len(parts)} parts cannot have the weights {list(weights)}")
        if len({(part.meta.tokenizer, part.meta.bos) for part in parts}) > 1:
            raise ValueError("the parts are written by different tokenizers")
        self._weights = [weight / sum(weights) for weight in weights]
        self._parts = [
            Packer(part, row=row, seed=_seed(seed, number), filler=filler) for number, part in enumerate(parts)
        ]
        self.split = sum(part.split for part in self._parts)
        named = zip(self._weights, self._parts, strict=True)
        self.source = " + ".join(f"{weight!r} of {part.source}" for weight, part in named)
        self._serial = 0

    @property
    def pieces(self) -> int:
        """How many pieces all parts have."""
        return sum(part.pieces for part in self._parts)

    @property
    def rows(self) -> int:
        """How many rows all parts' epochs have."""
        return sum(part.rows for part in self._parts)

    @property
    def tokens(self) -> int:
        """Taken so far, filler not counted."""
        return sum(part.tokens for part in self._parts)

    @property
    def cursor(self) -> Cursor:
        """Where the next row comes from. A mixture has no epochs of its own: its rows are counted through."""
        parts = tuple(part.cursor for part in self._parts)
        return Cursor(
            source=self.source, epoch=0, row=self._serial, serial=self._serial, tokens=self.tokens, parts=parts
        )

    def seek(self, cursor: Cursor) -> None:
        """Goes on reading at `cursor`. Raises `ValueError`, and does not move, for one of other data, weights, row
        length or seed."""
        if cursor.source != self.source or len(cursor.parts) != len(self._parts):
            raise ValueError(f"the cursor reads {cursor.source}, the data are {self.source}")
        before = self.cursor
        try:
            self._move(cursor)
        except ValueError:
            self._move(before)
            raise

    def _move(self, cursor: Cursor) -> None:
        for part, its in zip(self._parts, cursor.parts, strict=True):
            part.seek(its)
        self._serial = cursor.serial

    def take(self, rows: int) -> Batch:
        """The next `rows` rows as one batch."""
        first = self._serial
        chosen = [self._furthest_behind().next() for _ in range(rows)]
        self._serial += rows
        return join(chosen, first)

    def once(self, rows: int) -> Iterator[Batch]:
        """All pieces of all parts once, part after part, in an order that never changes, `rows` rows at a time. The
        rows are numbered from 0; the cursor does not move."""
        return batches(chain.from_iterable(part.all() for part in self._parts), rows)

    def _furthest_behind(self) -> Packer:
        behind = [part.tokens / weight for part, weight in zip(self._parts, self._weights, strict=True)]
        return self._parts[behind.index(min(behind))]


def unimax(sizes: Sequence[float], budget: float, cap: float) -> list[float]:
    """Shares of a `budget` of tokens for parts of `sizes` tokens: equal, except that no part is seen more than `cap`
    times; what such a part leaves is divided equally among the others. They sum to 1.

    UniMax (Chung et al., "UniMax: fairer and more effective language sampling", 2023). Raises `ValueError` where
    the budget is more than `cap` times everything.
    """
    if budget <= 0 or cap <= 0 or not sizes or min(sizes) <= 0:
        raise ValueError(f"a budget of {budget} and a cap of {cap} cannot be shared among {list(sizes)}")
    if budget > cap * sum(sizes):
        raise ValueError(f"{cap} times {sum(sizes)} tokens do not fill a budget of {budget}")
    shares = [0.0] * len(sizes)
    left = budget
    # The smallest first: what it cannot take is there for all that follow.
    for done, number in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        given = min(left / (len(sizes) - done), cap * sizes[number])
        shares[number] = given / budget
        left -= given
    return shares


def _seed(seed: int, number: int) -> int:
    """A seed of its own for each part: equal parts must not come in equal order."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:8], "big")
