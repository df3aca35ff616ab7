"""Who runs in the next step, and how many tokens of each. Plain Python: no torch, no tensors, no model.

A request is a list of ids of which the cache remembers a beginning. What it does not remember yet is *pending*. Reading
a prompt and drawing a token are the same act: run some pending ids; when none is left, the last row gives the next
token, which is then the one pending id. A request that lost its place in the cache has everything pending again. So a
step needs one rule:

- every running request with a single pending id runs it (this is batched decode);
- the longer ones share `chunk` tokens, those of the highest priority first, the oldest of equals (this is chunked
  prefill, in the same ragged step);
- a picture is run whole: a share ends before one that it would cut, and a picture that comes next and is larger than
  `chunk` makes a share of its own, in a step where no other prompt has one before it;
- pictures that a share would read are encoded first, for at most the price of `chunk // 8` tokens in a step, and it is
  run when that is done; the prompts after it wait as they wait for its tokens, single pending ids do not;
- a place that is free goes to the request of the highest priority, to the one that has waited longest of these; where
  none is free, a waiting request takes the place of a running one of lower priority, the youngest of the lowest;
- so that nobody waits for ever, every fourth free place, and the first share of every fourth step, go by age alone, and
  who has got a place by age keeps it for some tokens.

A step thus holds at most `chunk` tokens of prompts (or one picture), an eighth of that in encoding, and one token for
each of the others, so that its memory is bounded and neither a long prompt nor a picture stops the others from drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

_FAIR = 4  # of so many places, and of so many steps, one goes by age
_LOOK = 8  # encoding gets one part of so many of a chunk: it loses no time by being cut small, as prompts would
_KEPT = 64  # tokens that a request with a place by age draws before it may have to give way


@dataclass(frozen=True, kw_only=True)
class Part:
    """One request's share of a step: its next `count` pending ids. `last` says that none is left after them. `look`:
    tokens' worth of encoding that comes before; where that is not all, `count` is 0."""

    request: int
    count: int
    last: bool
    look: int = 0


@dataclass(kw_only=True)
class _Entry:
    """A request. `age`: when it came, the oldest first. `owed`: tokens that it draws before it may give way."""

    request: int
    priority: int
    age: int
    owed: int = 0


def _rank(entry: _Entry) -> tuple[int, int]:
    return (-entry.priority, entry.age)


def _age(entry: _Entry) -> int:
    return entry.age


class Schedule:
    """The requests that wait and those that run, by number."""

    def __init__(self, *, places: int, chunk: int) -> None:
        """`places`: requests that run at once. `chunk`: tokens of prompts in one step. Both at least 1."""
        if places < 1 or chunk < 1:
            raise ValueError(f"a schedule needs at least one place and one token a step, not {places} and {chunk}")
        self._places = places
        self._chunk = chunk
        self._waiting: dict[int, _Entry] = {}
        self._running: dict[int, _Entry] = {}
        self._came = self._given = self._steps = 0

    @property
    def waiting(self) -> tuple[int, ...]:
        """The requests that wait for a place, oldest first."""
        return tuple(entry.request for entry in sorted(self._waiting.values(), key=_age))

    @property
    def running(self) -> tuple[int, ...]:
        """The requests that hold a place, oldest first."""
        return tuple(entry.request for entry in sorted(self._running.values(), key=_age))

    def add(self, request: int, priority: int = 0) -> None:
        """A new request waits for a place; higher priorities come first."""
        self._came += 1
        self._waiting[request] = _Entry(request=request, priority=priority, age=self._came)

    def remove(self, request: int) -> None:
        """Forgets a request, wherever it stands: its place is free at once."""
        self._waiting.pop(request, None)
        self._running.pop(request, None)

    def admit(self) -> Iterable[tuple[int, int | None]]:
        """Gives places to those who wait, one after the other, and yields each with the running request that had to
        give way to it and waits again (None: a place was free)."""
        while self._waiting:
            first, loser = min(self._waiting.values(), key=_rank), None
            if len(self._running) < self._places:
                self._given += 1
                oldest = min(self._waiting.values(), key=_age)
                if self._given % _FAIR == 0 and oldest is not first:
                    first = oldest
                    first.owed = _KEPT
            else:
                weak = [entry for entry in self._running.values() if not entry.owed and entry.priority < first.priority]
                if not weak:
                    return
                loser = max(weak, key=_rank).request
                self._waiting[loser] = self._running.pop(loser)
            self._running[first.request] = self._waiting.pop(first.request)
            yield first.request, loser

    def parts(
        self,
        pending: Callable[[int], int],
        pictures: Callable[[int], Sequence[tuple[int, int]]] = lambda request: (),
        price: Callable[[int, int], int] = lambda request, count: 0,
    ) -> list[Part]:
        """The next step's shares; `pending` tells how many ids of a running request the cache does not hold (≥ 1),
        `pictures` where pictures begin and end among these, counted from the first, and `price` what it costs, in
        tokens, to encode those among its next `count` ids that are not encoded yet."""
        self._steps += 1
        budget, looks = self._chunk, max(1, self._chunk // _LOOK)
        parts = []
        for entry in sorted(self._running.values(), key=_rank if self._steps % _FAIR else _age):
            request = entry.request
            left = pending(request)
            if left < 1:
                raise ValueError(f"request {request} has {left} pending ids, a running one has at least 1")
            count = 1
            if left > 1:
                count = _uncut(min(left, budget), pictures(request), alone=budget == self._chunk)
                budget = max(0, budget - count)
            look = price(request, count) if count else 0
            if look > looks:
                look, count, budget = looks, 0, 0
            looks -= look
            if count or look:
                parts.append(Part(request=request, count=count, last=count == left, look=look))
            entry.owed = max(0, entry.owed - (count == left))
        return parts


def _uncut(count: int, pictures: Sequence[tuple[int, int]], alone: bool) -> int:
    """`count` ids, or those before the picture that they would cut; that picture whole if none is before it and this
    share is `alone`, else nothing."""
    for begin, end in pictures:
        if begin < count < end:
            return begin or (end if alone else 0)
    return count
