"""Time is counted to the part that took it."""

from __future__ import annotations

import time

import pytest

from gemwright.train.clock import PARTS, Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock on which every look is a second later than the one before."""
    ticks = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))
    return Clock()


def test_each_block_counts_to_its_part(clock: Clock) -> None:
    for part in ("data", "model", "model"):
        with clock.part(part):
            pass
    assert clock.seconds == dict.fromkeys(PARTS, 0.0) | {"data": 1.0, "model": 2.0}


def test_a_block_that_fails_counts_too(clock: Clock) -> None:
    with pytest.raises(RuntimeError), clock.part("checkpoint"):
        raise RuntimeError
    assert clock.seconds["checkpoint"] == 1.0


def test_a_difference_is_what_came_after_and_training_is_not_watching(clock: Clock) -> None:
    with clock.part("data"):
        pass
    earlier = clock.seconds.copy()
    for part in ("optimiser", "evaluation", "checkpoint"):
        with clock.part(part):
            pass
    assert clock.since(earlier)["data"] == 0.0 and clock.since(earlier)["evaluation"] == 1.0
    assert clock.training(clock.seconds) == 2.0
