"""Who runs next: fair, bounded, complete."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemwright.engine.schedule import Part, Schedule


def admitted(schedule: Schedule) -> list[int]:
    return list(schedule.admit())


def test_places_go_to_those_who_waited_longest() -> None:
    schedule = Schedule(places=2, chunk=4)
    for request in (7, 3, 5):
        schedule.add(request)
    assert admitted(schedule) == [7, 3]
    assert schedule.waiting == (5,)
    schedule.remove(7)
    assert admitted(schedule) == [5]
    assert schedule.running == (3, 5)


def test_a_waiting_request_can_be_removed() -> None:
    schedule = Schedule(places=1, chunk=4)
    schedule.add(1)
    schedule.add(2)
    schedule.remove(1)
    assert admitted(schedule) == [2]


def test_single_tokens_run_beside_a_chunk_that_the_oldest_prompt_takes_first() -> None:
    schedule = Schedule(places=4, chunk=10)
    pending = {0: 1, 1: 8, 2: 1, 3: 9}
    for request in pending:
        schedule.add(request)
    admitted(schedule)
    assert schedule.parts(pending.__getitem__) == [
        Part(request=0, count=1, last=True),
        Part(request=1, count=8, last=True),
        Part(request=2, count=1, last=True),
        Part(request=3, count=2, last=False),
    ]


def test_a_request_without_pending_ids_is_misuse() -> None:
    schedule = Schedule(places=1, chunk=4)
    schedule.add(0)
    admitted(schedule)
    with pytest.raises(ValueError, match="pending"):
        schedule.parts(lambda _: 0)


@pytest.mark.parametrize(("places", "chunk"), [(0, 4), (4, 0)])
def test_no_place_or_no_chunk_is_misuse(places: int, chunk: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Schedule(places=places, chunk=chunk)


@given(
    prompts=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 5)), min_size=1, max_size=8),
    places=st.integers(1, 4),
    chunk=st.integers(1, 9),
)
def test_every_request_ends_and_no_step_is_larger_than_its_bound(
    prompts: list[tuple[int, int]], places: int, chunk: int
) -> None:
    schedule = Schedule(places=places, chunk=chunk)
    pending = {request: length for request, (length, _) in enumerate(prompts)}
    answers = {request: length for request, (_, length) in enumerate(prompts)}
    for request in pending:
        schedule.add(request)
    steps = 0
    while schedule.waiting or schedule.running:
        admitted(schedule)
        parts = schedule.parts(pending.__getitem__)
        assert parts and len(schedule.running) <= places
        single = [part for part in parts if pending[part.request] == 1]
        assert {part.request for part in single} == {key for key in schedule.running if pending[key] == 1}
        assert sum(part.count for part in parts) - len(single) <= chunk
        for part in parts:
            assert part.last == (part.count == pending[part.request])
            pending[part.request] -= part.count
            if part.last:
                answers[part.request] -= 1
                pending[part.request] = 1
                if not answers[part.request]:
                    schedule.remove(part.request)
        steps += 1
        assert steps <= sum(length + answer for length, answer in prompts)
