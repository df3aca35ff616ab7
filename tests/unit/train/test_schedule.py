"""The rate climbs, falls, and ends where it was told to."""

from __future__ import annotations

from typing import Literal

import pytest

from gemwright.train.schedule import Schedule, factor

KINDS: tuple[Literal["cosine", "linear", "constant"], ...] = ("cosine", "linear", "constant")


@pytest.mark.parametrize("kind", KINDS)
def test_it_warms_up_from_above_nothing_to_the_whole(kind: Literal["cosine", "linear", "constant"]) -> None:
    schedule = Schedule(kind=kind, warmup=4, floor=0.1)
    factors = [factor(schedule, step, 20) for step in range(5)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_it_falls_to_the_floor_at_the_last_step(kind: Literal["cosine", "linear"]) -> None:
    schedule = Schedule(kind=kind, warmup=3, floor=0.1)
    factors = [factor(schedule, step, 20) for step in range(3, 20)]
    assert factors == sorted(factors, reverse=True) and factors[-1] == pytest.approx(0.1)


def test_half_way_both_decays_are_half_way() -> None:
    for kind in ("cosine", "linear"):
        assert factor(Schedule(kind=kind, warmup=0, floor=0.2), 10, 21) == pytest.approx(0.6)


def test_constant_stays() -> None:
    assert factor(Schedule(kind="constant", warmup=0, floor=0.0), 19, 20) == 1.0


def test_a_run_that_ends_with_its_warm_up_has_a_rate() -> None:
    assert factor(Schedule(kind="cosine", warmup=1, floor=0.5), 1, 2) == 1.0
