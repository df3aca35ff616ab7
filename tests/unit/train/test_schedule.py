"""The rate climbs, falls, and ends where it was told to."""

from __future__ import annotations

import math
from typing import get_args

import pytest

from gemwright.train.schedule import Kind, Schedule, factor

KINDS: tuple[Kind, ...] = get_args(Kind)


def schedule(kind: Kind, warmup: int, floor: float, decay: float = 0.25) -> Schedule:
    return Schedule(kind=kind, warmup=warmup, floor=floor, decay=decay)


@pytest.mark.parametrize("kind", KINDS)
def test_it_warms_up_from_above_nothing_to_the_whole(kind: Kind) -> None:
    factors = [factor(schedule(kind, 4, 0.1), step, 20) for step in range(5)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd"])
def test_it_falls_to_the_floor_at_the_last_step(kind: Kind) -> None:
    factors = [factor(schedule(kind, 3, 0.1), step, 20) for step in range(3, 20)]
    assert factors == sorted(factors, reverse=True) and factors[-1] == pytest.approx(0.1)


def test_half_way_both_full_decays_are_half_way() -> None:
    for kind in KINDS[:2]:
        assert factor(schedule(kind, 0, 0.2), 10, 21) == pytest.approx(0.6)


def test_wsd_stays_whole_until_the_decay_and_falls_as_one_minus_a_root() -> None:
    factors = [factor(schedule("wsd", 3, 0.2), step, 20) for step in range(20)]
    assert factors[3:15] == [1.0] * 12
    assert factors[15:] == pytest.approx([0.2 + 0.8 * (1 - math.sqrt(share / 5)) for share in (1, 2, 3, 4, 5)])


def test_wsd_does_what_it_did_whatever_the_length_of_the_run_until_it_decays() -> None:
    short, long = ([factor(schedule("wsd", 10, 0.0), step, steps) for step in range(75)] for steps in (100, 1000))
    assert short == long


def test_constant_stays() -> None:
    assert factor(schedule("constant", 0, 0.0), 19, 20) == 1.0


def test_a_run_that_ends_with_its_warm_up_has_a_rate() -> None:
    assert factor(schedule("cosine", 1, 0.5), 1, 2) == 1.0
