"""A proposer that says what a test tells it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gemwright.engine.progress import Progress
from gemwright.engine.proposer import Facts, Proposal

Say = Callable[[Progress, int], Sequence[int]]


class Told:
    """Proposes `say(progress, count)`; keeps what it was asked, and which requests have ended."""

    def __init__(self, say: Say, *, free: bool = True, seconds: float = 0.0) -> None:
        self.free, self.seconds = free, seconds
        self.say = say
        self.asked: list[tuple[int, int, int]] = []  # request, tokens drawn, ids asked for
        self.ended: list[int] = []

    def cache_bytes(self, tokens: int | None, sequences: int) -> int:
        return 0

    def begin(self, facts: Facts) -> None:
        self.facts = facts

    def propose(self, wanted: Sequence[tuple[Progress, int]]) -> list[Proposal]:
        self.asked += [(progress.key, progress.drawn, count) for progress, count in wanted]
        return [Proposal(ids=tuple(self.say(progress, count))[:count]) for progress, count in wanted]

    def forget(self, key: int) -> None:
        self.ended.append(key)
