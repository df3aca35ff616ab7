"""Which beginnings of prompts are worth keeping, and which of them a new prompt can go on from. No torch.

Windows and recurrent states can only be taken up where a snapshot was made, or a few tokens before it. So snapshots are
kept of the places where later prompts are likely to part: where a prompt ended, where an answer ended, and chunk by
chunk within a long prompt. Their number is bounded, and may be in bytes; the least valuable gives way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from gemwright.engine.request import PromptImage

_TURN = 8.0  # how much likelier the next prompt parts from a known one at the end of a turn than within it


def path(ids: Sequence[int], images: Sequence[PromptImage], adapter: str = "") -> numpy.ndarray:
    """int64 `[N]`, what tells two sequences apart: each token's id and, for a picture's tokens, whose ids are all
    alike, negative numbers from the picture's hash. Under an `adapter` (its fingerprint) the first one is a negative
    number too, from both: with another adapter nothing is shared."""
    found = numpy.array(ids, dtype=numpy.int64)
    for image in images:
        digest = numpy.frombuffer(bytes.fromhex(image.picture.sha256), dtype=">i8").astype(numpy.int64)
        found[image.first : image.end] = numpy.resize(digest | numpy.iinfo(numpy.int64).min, image.count)
    if adapter and len(found):
        both = hashlib.sha256(f"{adapter} {found[0]}".encode()).digest()
        found[0] = numpy.frombuffer(both[:8], dtype=">i8")[0] | numpy.iinfo(numpy.int64).min
    return found


def shared(some: numpy.ndarray, other: numpy.ndarray) -> int:
    """How many tokens two paths begin with alike."""
    least = min(len(some), len(other))
    apart = some[:least] != other[:least]
    return int(apart.argmax()) if apart.any() else least


def usable(known: numpy.ndarray, prompt: numpy.ndarray, images: Sequence[PromptImage] = ()) -> int:
    """How many tokens of a prompt what is known saves: at least the last one is left to run, and none of these pictures
    is cut."""
    count = min(shared(known, prompt), len(prompt) - 1)
    return next((image.first for image in images if image.first < count < image.end), count)


@dataclass(eq=False, kw_only=True)
class Kept:
    """A snapshot of `len(path)` tokens. `turn`: at the end of a turn. `used`: when it was last of use, counted in
    prompts. `found`: has a prompt gone on from it? `awaited`: does a request that gave up its place wait for it?"""

    handle: Any
    path: numpy.ndarray
    turn: bool
    used: int = 0
    found: bool = False
    awaited: bool = False


class Prefixes:
    """The snapshots that are kept, `most` at most, and no more than have room.

    A snapshot's value is the number of tokens that would have to be read again without it, given the others; it is
    larger at the end of a turn and halves, thirds, ... with the prompts that came without using it. What a request that
    gave up its place waits for is worth more than all else.
    """

    def __init__(
        self,
        most: int,
        *,
        back: Callable[[Any, int], bool],
        free: Callable[[Any], object],
        fits: Callable[[list[Any]], bool] = lambda handles: True,
        last: Callable[[Kept], object] = lambda kept: None,
    ) -> None:
        """`back(handle, count)`: can a sequence that goes on from this snapshot take back so many tokens? `free`: gives
        up a snapshot's memory. `fits(handles)`: may so much be kept? `last(kept)`: hears of one that gives way, before
        it is freed."""
        self._most, self._back, self._free, self._fits, self._last = most, back, free, fits, last
        self._kept: list[Kept] = []
        self._clock = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def handles(self) -> list[Any]:
        """The snapshots."""
        return [one.handle for one in self._kept]

    @property
    def kept(self) -> tuple[Kept, ...]:
        """The snapshots, with what is known of them."""
        return tuple(self._kept)

    def find(self, prompt: numpy.ndarray, images: Sequence[PromptImage] = ()) -> tuple[Any, int]:
        """The snapshot that saves a prompt most, and how many of its tokens; 0 where none does."""
        self._clock += 1
        best, most = None, 0
        for one in self._kept:
            count = usable(one.path, prompt, images)
            if count > most and self._back(one.handle, len(one.path) - count):
                best, most = one, count
        if best is None:
            return None, 0
        best.used, best.found = self._clock, True
        return best.handle, most

    def known(self, path: numpy.ndarray) -> bool:
        """Is there a snapshot of exactly these tokens? It counts as used now."""
        return self._same(path) is not None

    def _same(self, path: numpy.ndarray) -> Kept | None:
        for one in self._kept:
            if len(one.path) == len(path) == shared(one.path, path):
                one.used = self._clock
                return one
        return None

    def add(self, handle: Any, path: numpy.ndarray, *, turn: bool, awaited: bool = False) -> None:
        """Keeps a snapshot, or frees it at once if it is known or worth less than the others."""
        same = self._same(path)
        if same is not None:
            same.turn, same.awaited = same.turn or turn, same.awaited or awaited
            self._free(handle)
            return
        self._kept.append(Kept(handle=handle, path=path, turn=turn, used=self._clock, awaited=awaited))
        while len(self._kept) > self._most or (self._kept and not self._fits(self.handles)):
            self.drop()

    def end(self, path: numpy.ndarray) -> None:
        """The request of these tokens runs again, or has ended: it waits for none of its beginnings."""
        for one in self._kept:
            if one.awaited and shared(one.path, path) == len(one.path):
                one.awaited = False

    def drop(self) -> bool:
        """Frees the least valuable snapshot, the oldest of equals; false if there is none."""
        if not self._kept:
            return False
        worst = min(self._kept, key=self._value)
        self._kept.remove(worst)
        self._last(worst)
        self._free(worst.handle)
        return True

    def clear(self) -> None:
        """Frees all."""
        while self._kept:
            self._free(self._kept.pop().handle)

    def _value(self, one: Kept) -> tuple[bool, float]:
        saved = len(one.path) - max((self._instead(one, other) for other in self._kept if other is not one), default=0)
        return one.awaited, saved * (_TURN if one.turn else 1.0) / (1 + self._clock - one.used)

    def _instead(self, one: Kept, other: Kept) -> int:
        """How many tokens of a snapshot another one could stand in for."""
        count = shared(one.path, other.path)
        return count if self._back(other.handle, len(other.path) - count) else 0
