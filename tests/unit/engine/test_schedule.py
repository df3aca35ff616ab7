"""Who runs next: fair, bounded, complete."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemwright.engine.schedule import Part, Schedule


def admitted(schedule: Schedule) -> list[int]:
    return [request for request, _ in schedule.admit()]


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


def test_a_free_place_goes_to_the_highest_priority_and_then_to_age() -> None:
    schedule = Schedule(places=3, chunk=4)
    for request, priority in enumerate([0, -5, 3, 0, 3]):
        schedule.add(request, priority)
    assert admitted(schedule) == [2, 4, 0]
    assert schedule.waiting == (1, 3) and schedule.running == (0, 2, 4)


def test_the_youngest_of_the_lowest_gives_way_to_a_higher_one() -> None:
    schedule = Schedule(places=3, chunk=4)
    for request, priority in enumerate([1, 0, 0]):
        schedule.add(request, priority)
    admitted(schedule)
    schedule.add(3, 2)
    schedule.add(4, 0)
    assert list(schedule.admit()) == [(3, 2)]
    assert schedule.waiting == (2, 4) and schedule.running == (0, 1, 3)
    schedule.remove(3)
    assert list(schedule.admit()) == [(2, None)]


def test_equals_do_not_take_each_others_places() -> None:
    schedule = Schedule(places=1, chunk=4)
    schedule.add(0, 7)
    admitted(schedule)
    schedule.add(1, 7)
    assert list(schedule.admit()) == []


def test_prompts_of_a_higher_priority_are_read_first_but_for_every_fourth_step() -> None:
    schedule = Schedule(places=2, chunk=4)
    schedule.add(0)
    schedule.add(1, 1)
    admitted(schedule)
    first = [schedule.parts(lambda _: 9)[0].request for _ in range(8)]
    assert first == [1, 1, 1, 0, 1, 1, 1, 0]


@given(places=st.integers(1, 3), priorities=st.lists(st.integers(1, 9), min_size=60, max_size=60))
def test_a_low_request_ends_however_many_higher_ones_come(places: int, priorities: list[int]) -> None:
    """A higher request comes with every step, and each of them runs for two."""
    schedule, drawn = Schedule(places=places, chunk=4), {0: 0}
    schedule.add(0, 0)
    for step in range(60 * 16):
        request = step + 1
        schedule.add(request, priorities[step % len(priorities)])
        drawn[request] = 0
        admitted(schedule)
        for part in schedule.parts(lambda _: 1):
            drawn[part.request] += 1
            if drawn[part.request] == (100 if part.request == 0 else 2):
                schedule.remove(part.request)
        if drawn[0] == 100:
            return
    raise AssertionError(f"it drew {drawn[0]} tokens of 100")


def test_a_request_without_pending_ids_is_misuse() -> None:
    schedule = Schedule(places=1, chunk=4)
    schedule.add(0)
    admitted(schedule)
    with pytest.raises(ValueError, match="pending"):
        schedule.parts(lambda _: 0)


def shares(chunk: int, pending: dict[int, int], pictures: dict[int, list[tuple[int, int]]]) -> dict[int, int]:
    schedule = Schedule(places=len(pending), chunk=chunk)
    for request in pending:
        schedule.add(request)
    admitted(schedule)
    parts = schedule.parts(pending.__getitem__, lambda request: pictures.get(request, []))
    return {part.request: part.count for part in parts}


def test_a_share_ends_before_the_picture_that_it_would_cut() -> None:
    assert shares(10, {0: 30}, {0: [(2, 6), (8, 12)]}) == {0: 8}
    assert shares(12, {0: 30}, {0: [(2, 6), (8, 12)]}) == {0: 12}


def test_a_picture_larger_than_a_chunk_is_run_whole_and_alone() -> None:
    """Beside single tokens, but not beside another prompt's."""
    assert shares(4, {0: 1, 1: 30, 2: 9}, {1: [(0, 16)]}) == {0: 1, 1: 16}
    assert shares(4, {0: 2, 1: 30, 2: 9}, {1: [(0, 16)]}) == {0: 2, 2: 2}


def looked(chunk: int, pending: list[int], prices: dict[int, int]) -> dict[int, tuple[int, int]]:
    """(ids, encoding) of each request with a share; a prompt's first id stands for its pictures."""
    schedule = Schedule(places=len(pending), chunk=chunk)
    for request in range(len(pending)):
        schedule.add(request)
    admitted(schedule)
    parts = schedule.parts(pending.__getitem__, price=lambda request, count: prices.get(request, 0))
    return {part.request: (part.count, part.look) for part in parts}


def test_what_a_share_would_see_is_encoded_before_it_runs() -> None:
    assert looked(80, [30], {0: 25}) == {0: (0, 10)}
    assert looked(80, [30], {0: 11}) == {0: (0, 10)}
    assert looked(80, [30], {0: 10}) == {0: (30, 10)}


def test_single_ids_run_beside_encoding_and_later_prompts_wait_for_it() -> None:
    assert looked(80, [1, 30, 1, 20], {1: 25}) == {0: (1, 0), 1: (0, 10), 2: (1, 0)}
    assert looked(80, [1, 30, 1, 20], {1: 4, 3: 4}) == {0: (1, 0), 1: (30, 4), 2: (1, 0), 3: (20, 4)}
    assert looked(80, [30, 20], {0: 6, 1: 6}) == {0: (30, 6), 1: (0, 4)}


def test_nothing_is_encoded_for_a_prompt_that_gets_no_share() -> None:
    assert looked(80, [80, 20], {1: 5}) == {0: (80, 0)}


def test_the_smallest_chunk_still_encodes() -> None:
    assert looked(1, [2], {0: 5}) == {0: (0, 1)}


@pytest.mark.parametrize("first", [0, 1])
def test_pictures_of_a_higher_priority_are_encoded_first_but_for_every_fourth_step(first: int) -> None:
    schedule, prices = Schedule(places=2, chunk=16), {0: 90, 1: 90}
    schedule.add(0, int(first == 0))
    schedule.add(1, int(first == 1))
    admitted(schedule)
    turns = []
    for _ in range(8):
        (part,) = schedule.parts(lambda _: 9, price=lambda request, count: prices[request])
        prices[part.request] -= part.look
        turns.append(part.request)
    oldest = 0
    assert turns == [first, first, first, oldest] * 2


@given(
    prompts=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 20)), min_size=1, max_size=6),
    places=st.integers(1, 4),
    chunk=st.integers(1, 40),
)
def test_every_picture_is_encoded_and_no_step_encodes_more_than_its_share(
    prompts: list[tuple[int, int]], places: int, chunk: int
) -> None:
    """A prompt's picture comes with its first id."""
    schedule = Schedule(places=places, chunk=chunk)
    pending = {request: length for request, (length, _) in enumerate(prompts)}
    prices = {request: price for request, (_, price) in enumerate(prompts)}
    for request in pending:
        schedule.add(request)
    steps = 0
    while schedule.waiting or schedule.running:
        admitted(schedule)
        parts = schedule.parts(pending.__getitem__, price=lambda request, count: prices[request])
        assert parts and sum(part.look for part in parts) <= max(1, chunk // 8)
        for part in parts:
            prices[part.request] -= part.look
            pending[part.request] -= part.count
            assert not (part.count and prices[part.request])
            if part.last:
                schedule.remove(part.request)
        steps += 1
        assert steps <= sum(length + price for length, price in prompts)


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


@given(
    prompts=st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=4), max_size=6),
    places=st.integers(1, 4),
    chunk=st.integers(1, 9),
)
def test_no_picture_is_cut_and_every_prompt_is_read(
    prompts: list[list[tuple[int, int]]], places: int, chunk: int
) -> None:
    """A prompt is texts and pictures in turn, of these lengths, and a last token."""
    schedule, length, pictures = Schedule(places=places, chunk=chunk), {}, {}
    for request, pieces in enumerate(prompts):
        at, pictures[request] = 0, []
        for text, picture in pieces:
            if picture:
                pictures[request].append((at + text, at + text + picture))
            at += text + picture
        length[request] = at + 1
        schedule.add(request)
    done = dict.fromkeys(length, 0)
    largest = max([end - begin for all_of in pictures.values() for begin, end in all_of], default=0)
    while schedule.waiting or schedule.running:
        admitted(schedule)
        parts = schedule.parts(
            lambda request: length[request] - done[request],
            lambda request: [
                (begin - done[request], end - done[request])
                for begin, end in pictures[request]
                if begin >= done[request]
            ],
        )
        assert parts
        assert sum(part.count for part in parts if part.count > 1) <= max(chunk, largest)
        for part in parts:
            done[part.request] += part.count
            assert not any(begin < done[part.request] < end for begin, end in pictures[part.request])
            assert part.last == (done[part.request] == length[part.request])
            if part.last:
                schedule.remove(part.request)
    assert done == length
