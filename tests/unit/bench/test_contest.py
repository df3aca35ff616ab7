"""Contestants take turns, and nobody's trouble is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gemwright.bench.contest import contest
from gemwright.bench.measures import crowd, decode, part, prefill
from gemwright.errors import UserError

MEASURES = [prefill(512), decode(64)]
Heard = Callable[[], list[str]]


def asked(lines: list[str], *words: str) -> list[str]:
    return [line for line in lines if line.split()[1] in words]


def test_each_question_goes_round_before_the_next_one(program: Callable, log: Heard) -> None:
    contest([program("a"), program("b")], MEASURES, rounds=2)
    lines = [line for line in asked(log(), "prefill", "decode") if line.split()[2] != "16"]
    a_first, b_first = [f"{name} prefill 512 {{0}}" for name in "ab"], [f"{name} prefill 512 {{0}}" for name in "ba"]
    expected = []
    for turn, order in enumerate((a_first, b_first, a_first)):
        questions = [line.format(turn) for line in order]
        expected += questions + [line.replace("prefill 512", "decode 64") for line in questions]
    assert lines == expected


def test_the_first_round_only_warms_up(program: Callable) -> None:
    (entry,) = contest([program("a")], MEASURES, rounds=3)
    assert entry.seconds == {"prefill 512": [1.0, 2.0, 3.0], "decode": [1.0, 2.0, 3.0]}


def test_the_parts_of_a_time_are_noted_beside_it(program: Callable) -> None:
    measure = crowd(512, 128, 8)
    (entry,) = contest([program("a", mood="crowd parts")], [measure], rounds=2)
    assert entry.seconds == {measure.name: [1.0, 2.0], part(measure, "step"): [0.5, 0.5]}


def test_weights_memory_and_the_first_token_are_noted(program: Callable) -> None:
    (entry,) = contest([program("a")], MEASURES, rounds=1)
    assert (entry.weights, entry.peak) == (2_000_000_000, 500)
    assert 0 < entry.loading[0] < entry.first[0]


def test_those_who_fit_in_memory_stay_loaded(program: Callable, log: Heard) -> None:
    contest([program("a", bytes=40), program("b", bytes=40)], MEASURES, rounds=2, room=100)
    assert asked(log(), "load") == ["a load", "b load"]
    assert {line.split()[1] for line in log()[-2:]} == {"leaves"}


def test_those_who_do_not_are_loaded_one_after_the_other_in_every_round(program: Callable, log: Heard) -> None:
    first, second = contest([program("a", bytes=41), program("b", bytes=40)], MEASURES, rounds=2, room=100)
    order = [f"{name} {do}" for name in "baab" for do in ("load", "leaves")]
    assert asked(log(), "load", "leaves") == order
    assert first.seconds == second.seconds == {"prefill 512": [1.0, 2.0], "decode": [1.0, 2.0]}
    assert first.peak == second.peak == 500


def test_what_a_program_cannot_do_is_asked_once_and_left_out(program: Callable, log: Heard) -> None:
    (entry,) = contest([program("a", mood="decode cannot")], MEASURES, rounds=3)
    assert entry.cannot == {"decode": "it never learned to"} and "decode" not in entry.seconds
    assert len(asked(log(), "decode")) == 1
    assert len(entry.seconds["prefill 512"]) == 3


@pytest.mark.parametrize("room", [100, 1])
def test_a_death_ends_the_contest_with_the_last_words(program: Callable, log: Heard, room: int) -> None:
    with pytest.raises(UserError) as caught:
        contest([program("a", bytes=1), program("b", mood="decode dies", bytes=1)], MEASURES, rounds=1, room=room)
    assert caught.value.message == ("b died at 'decode' with exit code 3: first line | the reason | the last line")


def test_a_contest_takes_a_round() -> None:
    with pytest.raises(ValueError, match="at least one round"):
        contest([], MEASURES, rounds=0)


def test_progress_is_told(program: Callable) -> None:
    told: list[str] = []
    contest([program("a")], [decode(64)], rounds=1, say=told.append)
    assert told == ["loading a", "decode, warming up", "decode, round 1 of 1"]
