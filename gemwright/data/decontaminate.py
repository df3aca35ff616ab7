"""Texts that meet an evaluation set: what a model was trained on it cannot be tested by.

A text meets an evaluation item when the two share a run of `size` words (13 after Brown et al., "Language models are
few-shot learners", 2020, appendix C), or when it holds all words of a shorter item in a row. An item of fewer than
`SHORTEST` words ("Yes.") would be found everywhere: it is met only by a text that has the same words and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy

from gemwright.data.documents import Conversation, Document
from gemwright.data.shingles import shingles, word_hashes
from gemwright.text.turns import ROLES, Role

SIZE = 13
SHORTEST = 5


class Evaluations:
    """The items of evaluation sets, by their runs of `size` words. Memory holds 16 bytes for each run, and names.

    Of a conversation count its words without the system message, and those of each message of the user's alone.
    `items` says how many there are, `short` how many of them have a text of fewer than `SHORTEST` words.
    """

    def __init__(self, items: Iterable[Document | Conversation], *, size: int = SIZE) -> None:
        if size < SHORTEST:
            raise ValueError(f"runs of {size} words are in every text: take {SHORTEST} or more")
        self._names: list[str] = []
        self.short = 0
        runs: dict[int, list[tuple[numpy.ndarray, int]]] = {}
        self._whole: dict[tuple[int, int], int] = {}
        for item in items:
            number = len(self._names)
            self._names.append(item.name)
            short = False
            for text in _texts(item):
                hashes = word_hashes(text)
                length = min(size, len(hashes))
                if length >= SHORTEST:
                    runs.setdefault(length, []).append((shingles(hashes, length), number))
                elif length:
                    short = True
                    self._whole.setdefault((length, int(shingles(hashes, length)[0])), number)
            self.short += short
        self._tables = [(length, *_table(found)) for length, found in sorted(runs.items(), reverse=True)]

    @property
    def items(self) -> int:
        """How many items there are."""
        return len(self._names)

    def met(self, hashes: numpy.ndarray) -> str | None:
        """The name of an item that a text meets, or None. `hashes` are those of its words, uint64 `[words]`."""
        for length, known, numbers in self._tables:
            own = shingles(hashes, length)
            places = numpy.minimum(numpy.searchsorted(known, own), len(known) - 1)
            hits = numpy.flatnonzero(known[places] == own)
            if len(hits):
                return self._names[numbers[places[hits[0]]]]
        if 0 < len(hashes) < SHORTEST:
            number = self._whole.get((len(hashes), int(shingles(hashes, len(hashes))[0])))
            return None if number is None else self._names[number]
        return None


def _texts(item: Document | Conversation) -> Iterator[str]:
    if isinstance(item, Document):
        yield item.text
        return
    said = [message for message in item.messages if ROLES.get(message.role) is not Role.SYSTEM]
    yield "\n".join(message.text for message in said)
    yield from (message.text for message in said if ROLES.get(message.role) is Role.USER)


def _table(found: list[tuple[numpy.ndarray, int]]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The different runs, sorted, and of each the first item that has it."""
    runs = numpy.concatenate([own for own, _ in found])
    numbers = numpy.repeat(numpy.asarray([number for _, number in found]), [len(own) for own, _ in found])
    known, first = numpy.unique(runs, return_index=True)
    return known, numbers[first]
