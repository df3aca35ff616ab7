"""Contestants in turn: each a process of its own, all timed by the same questions, round by round.

Whatever slows the machine down for a while thus slows all of them down. A contestant that is not asked waits for its
next line and computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

from gemwright.bench.contestant import Contestant, Worker
from gemwright.bench.measures import Entry, Measure
from gemwright.planner.measure import available

_SHARE = 0.8  # of the free memory that contestants may take together

_Item = TypeVar("_Item")


def contest(
    contestants: Sequence[Contestant],
    measures: Sequence[Measure],
    *,
    rounds: int,
    say: Callable[[str], None] = lambda message: None,
    room: int | None = None,
) -> list[Entry]:
    """Measures everything of everybody, `rounds` times after a round that only warms up.

    If the contestants fit in memory together, all stay loaded, and each measure goes round before the next one. Else
    every round loads them one after the other. `say` gets lines about the progress; `room` is the free memory in bytes
    (default: what the system reports). Raises `UserError` for a contestant that does not start, or dies.
    """
    if rounds < 1:
        raise ValueError(f"a contest takes at least one round, not {rounds}")
    room = available() if room is None else room
    together = room is None or sum(contestant.bytes for contestant in contestants) <= _SHARE * room
    entries = [Entry(name=contestant.name) for contestant in contestants]
    (_together if together else _apart)(list(zip(contestants, entries, strict=True)), measures, rounds, say)
    return entries


_Pairs = list[tuple[Contestant, Entry]]


def _together(pairs: _Pairs, measures: Sequence[Measure], rounds: int, say: Callable[[str], None]) -> None:
    with ExitStack() as stack:
        field: list[tuple[Worker, Entry]] = []
        for contestant, entry in pairs:
            say(f"loading {contestant.name}")
            worker = stack.enter_context(Worker(contestant))
            worker.load(entry, seed=0)
            field.append((worker, entry))
        for turn in range(rounds + 1):
            for measure in measures:
                say(f"{measure.name}, {_round(turn, rounds)}")
                for worker, entry in _rotated(field, turn):
                    worker.measure(measure, turn, entry, count=turn > 0)
        for worker, entry in field:
            worker.peak(entry)


def _apart(pairs: _Pairs, measures: Sequence[Measure], rounds: int, say: Callable[[str], None]) -> None:
    for turn in range(1, rounds + 1):
        for contestant, entry in _rotated(pairs, turn):
            say(f"{contestant.name}, alone in memory, {_round(turn, rounds)}")
            with Worker(contestant) as worker:
                worker.load(entry, seed=0)
                for measure in measures:
                    worker.measure(measure, 0, entry, count=False)
                    worker.measure(measure, turn, entry)
                worker.peak(entry)


def _rotated(items: list[_Item], turn: int) -> list[_Item]:
    """Another one begins each time, so that nobody is always the one who runs on a cool machine."""
    start = turn % len(items)
    return items[start:] + items[:start]


def _round(turn: int, rounds: int) -> str:
    return f"round {turn} of {rounds}" if turn else "warming up"
