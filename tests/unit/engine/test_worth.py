"""How many guesses are worth their rows."""

from __future__ import annotations

import pytest

from gemwright.engine.worth import Chance, Cost, worth


def measured(start: float, row: float, sizes: tuple[int, ...] = (1, 3, 9)) -> Cost:
    cost = Cost()
    for rows in sizes * 60:
        cost.add(rows, start + row * rows)
    return cost


def test_the_line_is_that_of_the_measured_steps() -> None:
    assert measured(0.04, 0.003).line() == pytest.approx((0.04, 0.003), rel=0.01)


def test_later_steps_count_more() -> None:
    cost = measured(1.0, 0.1)
    for rows in (1, 3, 9) * 150:
        cost.add(rows, 0.04 + 0.003 * rows)
    assert cost.line() == pytest.approx((0.04, 0.003), rel=0.05)


def test_steps_of_one_size_say_little_of_a_row() -> None:
    start, row = measured(0.04, 0.0, sizes=(1,)).line()
    assert 0 < row < 0.2 * 0.04 and start + row == pytest.approx(0.04)


def test_a_row_takes_no_less_than_nothing_and_no_more_than_its_share() -> None:
    for start, row in ((1.0, -0.05), (-0.5, 1.0)):
        found = measured(start, row).line()
        assert found[0] >= -1e-9 and found[1] > 0


def test_the_share_follows_what_came_of_the_latest() -> None:
    chance = Chance()
    assert chance.share == 0.5
    chance.add(30, 0)
    assert chance.share > 0.9
    chance.add(0, 30)
    assert chance.share < 0.1


def count(share: float, *, drawing: int = 1, row: float = 0.1, extra: float = 0.0, most: int = 32) -> int:
    """Guesses for the first of `drawing` requests that are all alike, of 8 each."""
    cost = measured(1.0 - row, row)
    return worth([(8, share)] * drawing, drawing=drawing, rows=drawing, cost=cost, most=most, extra=extra)[0]


def test_the_surer_the_guesses_the_more_are_run() -> None:
    found = [count(share) for share in (0.05, 0.3, 0.6, 0.8, 0.95)]
    assert found[0] == 0 and found[-1] == 8 and found == sorted(found)


def test_the_dearer_a_row_the_fewer_are_run() -> None:
    found = [count(0.8, row=row) for row in (0.02, 0.1, 0.3, 0.9)]
    assert found[0] == 8 and found[-1] == 0 and found == sorted(found, reverse=True)


def test_requests_that_share_a_step_share_what_it_has_room_for() -> None:
    alone, together = count(0.7), count(0.7, drawing=16, row=0.1)
    assert alone > together
    assert sum(worth([(8, 1.0), (8, 1.0)], drawing=2, rows=2, cost=Cost(), most=6)) == 6


def test_the_surest_come_first() -> None:
    assert worth([(8, 0.2), (8, 0.95)], drawing=2, rows=2, cost=measured(0.7, 0.3), most=32)[0] == 0


def test_time_before_the_step_counts() -> None:
    assert count(0.6) > count(0.6, extra=0.2) > count(0.6, extra=2.0) == 0
