"""Who runs in the next step, and how many tokens of each. Plain Python: no torch, no tensors, no model.

A request is a list of ids of which the cache remembers a beginning. What it does not remember yet is *pending*. Reading
a prompt and drawing a token are the same act: run some pending ids; when none is left, the last row gives the next
token, which is then the one pending id. A request that lost its place in the cache has everything pending again. So a
step needs one rule:

- every running request with a single pending id runs it (this is batched decode);
- the longer ones share `chunk` tokens, the oldest first (this is chunked prefill, in the same ragged step);
- a picture is run whole: a share ends before one that it would cut, and a picture that comes next and is larger than
  `chunk` makes a share of its own, in a step where no other prompt has one before it;
- a place that is free goes to the request that has waited longest.

A step thus holds at most `chunk` tokens of prompts (or one picture) and one token for each of the others, so that its
memory is bounded and a long prompt never stops the others from drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Part:
    """One request's share of a step: its next `count` pending ids. `last` says that none is left after them."""

    request: int
    count: int
    last: bool


class Schedule:
    """The requests that wait and those that run, by number, oldest first."""

    def __init__(self, *, places: int, chunk: int) -> None:
        """`places`: requests that run at once. `chunk`: tokens of prompts in one step. Both at least 1."""
        if places < 1 or chunk < 1:
            raise ValueError(f"a schedule needs at least one place and one token a step, not {places} and {chunk}")
        self._places = places
        self._chunk = chunk
        self._waiting: dict[int, None] = {}  # a dict keeps the order and forgets in constant time
        self._running: dict[int, None] = {}

    @property
    def waiting(self) -> tuple[int, ...]:
        """The requests that wait for a place, oldest first."""
        return tuple(self._waiting)

    @property
    def running(self) -> tuple[int, ...]:
        """The requests that hold a place, oldest first."""
        return tuple(self._running)

    def add(self, request: int) -> None:
        """A new request goes to the end of the queue."""
        self._waiting[request] = None

    def remove(self, request: int) -> None:
        """Forgets a request, wherever it stands: its place is free at once."""
        self._waiting.pop(request, None)
        self._running.pop(request, None)

    def admit(self) -> Iterable[int]:
        """Gives free places to those who wait, one after the other, and yields each."""
        while self._waiting and len(self._running) < self._places:
            request = next(iter(self._waiting))
            del self._waiting[request]
            self._running[request] = None
            yield request

    def parts(
        self,
        pending: Callable[[int], int],
        pictures: Callable[[int], Sequence[tuple[int, int]]] = lambda request: (),
    ) -> list[Part]:
        """The next step's shares; `pending` tells how many ids of a running request the cache does not hold (≥ 1),
        `pictures` where pictures begin and end among these, counted from the first."""
        budget = self._chunk
        parts = []
        for request in self._running:
            left = pending(request)
            if left < 1:
                raise ValueError(f"request {request} has {left} pending ids, a running one has at least 1")
            if left == 1:
                parts.append(Part(request=request, count=1, last=True))
                continue
            count = _uncut(min(left, budget), pictures(request), alone=budget == self._chunk)
            budget = max(0, budget - count)
            if count:
                parts.append(Part(request=request, count=count, last=count == left))
        return parts


def _uncut(count: int, pictures: Sequence[tuple[int, int]], alone: bool) -> int:
    """`count` ids, or those before the picture that they would cut; that picture whole if none is before it and this
    share is `alone`, else nothing."""
    for begin, end in pictures:
        if begin < count < end:
            return begin or (end if alone else 0)
    return count
