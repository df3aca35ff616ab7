"""How far guesses go: as far as the cache takes back, and no further than the engine's limit."""

from __future__ import annotations

from gemwright.planner.guesses import ROWS, most


def test_one_sequence_guesses_what_can_be_taken_back_and_many_share_the_limit() -> None:
    assert [most(sequences, 8) for sequences in (1, 3, 4, 9)] == [8, 24, ROWS, ROWS]
