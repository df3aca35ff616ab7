"""Error bars, beside published values and simulation."""

from __future__ import annotations

import math
import random

import pytest

from gemwright.evals.interval import bootstrap, wilson


def test_wilsons_interval_is_the_textbooks() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3.
    for right, count, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        assert wilson(right / count, count) == pytest.approx((low, high), abs=5e-5)
    assert wilson(1.0, 29) == pytest.approx((0.8830, 1), abs=5e-5)


def test_wilsons_interval_holds_the_truth_95_times_of_100() -> None:
    draw = random.Random(3)
    inside = 0
    for _ in range(2000):
        low, high = wilson(sum(draw.random() < 0.9 for _ in range(60)) / 60, 60)
        inside += low <= 0.9 <= high
    assert 0.93 < inside / 2000 < 0.97


def test_a_bootstrap_holds_the_truth_nearly_so_often() -> None:
    draw = random.Random(5)
    inside = 0
    for seed in range(60):
        sizes = [draw.uniform(50, 150) for _ in range(40)]
        totals = [size * draw.gauss(2.0, 0.5) for size in sizes]
        low, high = bootstrap(totals, sizes, seed)
        inside += low <= 2.0 <= high
    assert inside / 60 > 0.85


def test_a_bootstrap_is_that_of_its_seed() -> None:
    numbers = [math.sqrt(number) for number in range(30)], [1.0] * 30
    assert bootstrap(*numbers, seed=1) == bootstrap(*numbers, seed=1) != bootstrap(*numbers, seed=2)
    assert bootstrap([3.0], [2.0], seed=1) == (1.5, 1.5)


def test_nothing_has_no_interval() -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(0.5, 0)
    with pytest.raises(ValueError, match="0 totals"):
        bootstrap([], [], 0)
