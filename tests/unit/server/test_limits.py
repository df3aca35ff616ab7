"""Keys, and what each may have under way."""

from __future__ import annotations

import pytest

from gemwright.server.errors import ApiError
from gemwright.server.limits import EVERYBODY, Door, full
from gemwright.server.settings import Settings


class Clock:
    """A time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_server_without_keys_is_open() -> None:
    assert Door(Settings()).who(None) == EVERYBODY


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic right", "Bearer righ", "Bearer right2", "right"]
)
def test_only_the_whole_key_opens(header: str | None) -> None:
    door = Door(Settings(keys=("right",)))
    with pytest.raises(ApiError) as found:
        door.who(header)
    assert found.value.status == 401 and "right" not in found.value.message
    assert door.who("bearer right")


def test_keys_have_names_of_their_own() -> None:
    door = Door(Settings(keys=("one", "two")))
    names = {door.who("Bearer one"), door.who("Bearer two")}
    assert len(names) == 2 and not any("one" in name or "two" in name for name in names)


def test_requests_of_one_key_are_counted_apart() -> None:
    door = Door(Settings(concurrent=2))
    door.enter("a")
    door.enter("a")
    door.enter("b")
    with pytest.raises(ApiError) as found:
        door.enter("a")
    assert found.value.status == 429 and found.value.headers()["Retry-After"] == "1"
    door.leave("a", 0)
    door.enter("a")


def test_spent_tokens_come_back_with_time() -> None:
    clock = Clock()
    door = Door(Settings(tokens_per_minute=60), clock)
    door.enter("a")
    door.leave("a", 90)
    with pytest.raises(ApiError) as found:
        door.enter("a")
    assert found.value.retry_after == 31 and "60 tokens per minute" in found.value.message
    clock.now = 29
    with pytest.raises(ApiError):
        door.enter("a")
    clock.now = 31
    door.enter("a")


def test_unused_tokens_do_not_pile_up() -> None:
    clock = Clock()
    door = Door(Settings(tokens_per_minute=60), clock)
    door.enter("a")
    door.leave("a", 1)
    clock.now = 6000
    door.enter("a")
    door.leave("a", 60)
    with pytest.raises(ApiError):
        door.enter("a")


def test_a_full_queue_is_told_with_numbers() -> None:
    error = full(16, 20)
    assert error.status == 503 and "16" in error.message and "20" in error.message and error.retry_after == 3
