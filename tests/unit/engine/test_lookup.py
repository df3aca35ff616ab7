"""What followed the last ids where they stood before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gemwright.engine.lookup import Index
from gemwright.engine.proposer import Proposal


def follow(ids: list[int], count: int = 4) -> Proposal:
    index = Index()
    index.extend(ids)
    return index.follow(ids, count)


def by_scanning(ids: list[int], count: int) -> list[int]:
    """The definition: of all earlier places the one whose ids up to it agree with the last ones furthest back, 2 at
    least and 8 at most, the latest of equals; from there on, the text and then the guesses themselves."""
    best, where = 1, 0
    for at in range(1, len(ids) - 1):
        length = 0
        while length < 8 and length <= at and ids[at - length] == ids[len(ids) - 1 - length]:
            length += 1
        if length >= best and length > 1:
            best, where = length, at
    found: list[int] = []
    while where and len(found) < count:
        found.append((ids + found)[where + 1 + len(found)])
    return found


@given(st.lists(st.integers(0, 2), max_size=15), st.integers(1, 8))
def test_it_is_what_a_scan_finds(ids: list[int], count: int) -> None:
    assert list(follow(ids, count).ids) == by_scanning(ids, count)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.lists(st.integers(1, 40), max_size=5))
def test_an_index_that_grew_is_one_built_at_once(ids: list[int], cuts: list[int]) -> None:
    grown = Index()
    for cut in sorted(cuts):
        grown.extend(ids[:cut])
    grown.extend(ids)
    assert grown.follow(ids, 6) == follow(ids, 6)


def test_a_copied_passage_goes_on() -> None:
    assert follow([5, 6, 7, 8, 9, 1, 6, 7]).ids == (8, 9, 1, 6)


def test_a_longer_match_counts_more_than_a_later_one() -> None:
    assert follow([1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3], 1).ids == (4,)


def test_a_loop_goes_on_as_a_loop() -> None:
    assert follow([7, 8, 7, 8, 7, 8], 5).ids == (7, 8, 7, 8, 7)


def test_what_never_stood_there_foretells_nothing() -> None:
    assert follow([1, 2, 3, 1]) == follow([1]) == follow([]) == Proposal(ids=(), grade=0)


def test_the_grade_is_the_length_of_the_match() -> None:
    assert [follow([1, 2, 3, 4, 5, 6, 9, *range(first, 7)]).grade for first in (5, 4, 3, 1)] == [2, 3, 4, 4]
