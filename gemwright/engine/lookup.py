"""Prompt lookup: where the last few ids stood before, in the prompt or the answer, what followed them may follow again.

An answer that copies, quotes, edits or repeats is foretold for nearly nothing. The index is one dictionary of pairs of
ids and a chain of earlier places of each pair; it grows by what is new, and a look follows a bounded part of one chain.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from gemwright.engine.progress import Progress
from gemwright.engine.proposer import Facts, Proposal

_LONGEST = 8  # ids of a match that are told apart; the longest one foretells best
_PLACES = 16  # earlier places of the last pair that are looked at, the latest first
_LONG = 4  # ids of a match: matches of 2, of 3, and of so many or more are judged apart


class Lookup:
    """Proposes by looking up. It keeps about 250 bytes for each token of a running request."""

    free = True
    seconds = 0.0

    def __init__(self) -> None:
        self._known: dict[int, Index] = {}

    def cache_bytes(self, tokens: int | None, sequences: int) -> int:
        """Nothing that is asked for at once."""
        return 0

    def begin(self, facts: Facts) -> None:
        """Nothing to prepare."""

    def propose(self, wanted: Sequence[tuple[Progress, int]]) -> list[Proposal]:
        """What followed the longest match, the latest of equals."""
        return [self._index(progress).follow(progress.ids, count) for progress, count in wanted]

    def forget(self, key: int) -> None:
        """The request has ended."""
        self._known.pop(key, None)

    def _index(self, progress: Progress) -> Index:
        index = self._known.setdefault(progress.key, Index())
        index.extend(progress.ids)
        return index


class Index:
    """Where each pair of neighbouring ids stood. Of ids that only grow."""

    def __init__(self) -> None:
        self._latest: dict[tuple[int, int], int] = {}
        self._before = array("q", [0])  # for the pair that ends at each place, the place before; 0: none

    def extend(self, ids: Sequence[int]) -> None:
        """Reads what is new of `ids`."""
        for at in range(len(self._before), len(ids)):
            pair = (ids[at - 1], ids[at])
            self._before.append(self._latest.get(pair, 0))
            self._latest[pair] = at

    def follow(self, ids: Sequence[int], count: int) -> Proposal:
        """Up to `count` ids that may come after `ids`, all of which were read; graded by the length of the match."""
        best, where = 0, 0
        at = self._before[len(ids) - 1] if len(ids) > 1 else 0
        for _ in range(_PLACES):
            if not at or best == _LONGEST:
                break
            length = _match(ids, at)
            if length > best:
                best, where = length, at
            at = self._before[at]
        if not best:
            return Proposal(ids=(), grade=0)
        follow = list(ids[where + 1 : where + 1 + count])
        while len(follow) < count:  # the match reaches into what is asked for: a loop goes on as one
            follow.append(follow[len(follow) - (len(ids) - where - 1)])
        return Proposal(ids=tuple(follow), grade=min(best, _LONG))


def _match(ids: Sequence[int], at: int) -> int:
    """How many ids up to `at` are the last ones of all; 2 are known to be."""
    last, length = len(ids) - 1, 2
    while length < _LONGEST and length <= at and ids[at - length] == ids[last - length]:
        length += 1
    return length
