"""Events on their way to a client, and what ends them early."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from gemwright.engine.request import Completion, Event, Request, Usage
from gemwright.server.errors import ApiError
from gemwright.server.flight import Flight
from gemwright.server.post import Post
from gemwright.server.worker import Worker

USAGE = Usage(prompt=3, cached=0, completion=1, prefill_seconds=0, decode_seconds=0)
DONE = Completion(text="x", ids=(5,), logprobs=None, finish_reason="stop", usage=USAGE, seed=0)


class Stub:
    """A worker that only remembers. What it delivers arrives when its `post` is sent."""

    def __init__(self) -> None:
        self.post = Post()
        self.deliver: list[Callable[[Any], None]] = []
        self.cancelled: list[int] = []

    def submit(self, request: Request, deliver: Callable[[Any], None]) -> int:
        self.deliver.append(deliver)
        return len(self.deliver) - 1

    def cancel(self, ticket: int) -> None:
        self.cancelled.append(ticket)


def token(text: str = "x", completion: Completion | None = None) -> Event:
    return Event(request=0, id=5, text=text, logprob=None, completion=completion)


def fly(work: Callable[[Flight, Stub], Any], *, count: int = 1, seconds: float = 60.0, leaves: bool = False) -> Any:
    """Runs `work` with a flight of `count` requests whose client stays, or leaves at once."""

    async def receive() -> Any:
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def whole() -> Any:
        stub = Stub()
        deadline = asyncio.get_running_loop().time() + seconds
        requests = [Request(ids=(2, 3, 4))] * count
        flight = Flight(cast(Worker, stub), requests, post=stub.post, deadline=deadline, backlog=4)
        flight.start(receive)
        try:
            return await work(flight, stub)
        finally:
            flight.close()

    return asyncio.run(asyncio.wait_for(whole(), 60))


async def collect(flight: Flight) -> list[tuple[int, Event]]:
    return [pair async for pair in flight.events()]


def test_events_come_in_order_until_every_answer_has_ended() -> None:
    async def work(flight: Flight, stub: Stub) -> None:
        for index, event in ((1, token("a")), (0, token("b", DONE)), (1, token("c", DONE))):
            stub.deliver[index](event)
        stub.post.send()
        found = await collect(flight)
        assert [(index, event.text) for index, event in found] == [(1, "a"), (0, "b"), (1, "c")]
        assert flight.done == [DONE, DONE] and flight.tokens == 9

    fly(work, count=2)


def test_an_error_of_one_request_ends_the_flight_and_cancels_the_rest() -> None:
    async def work(flight: Flight, stub: Stub) -> None:
        stub.deliver[0](ValueError("no"))
        stub.post.send()
        with pytest.raises(ValueError, match="no"):
            await collect(flight)
        flight.close()
        assert stub.cancelled == [0, 1]

    fly(work, count=2)


@pytest.mark.parametrize(("settings", "reason"), [({"leaves": True}, "client_left"), ({"seconds": 0.01}, "timeout")])
def test_a_client_that_leaves_and_a_deadline_free_the_places(settings: Any, reason: str) -> None:
    async def work(flight: Flight, stub: Stub) -> None:
        with pytest.raises(ApiError):
            await collect(flight)
        assert flight.reason == reason and stub.cancelled == [0]

    fly(work, **settings)


def test_a_reader_too_far_behind_is_cut_before_it_reads_on() -> None:
    async def work(flight: Flight, stub: Stub) -> None:
        for _ in range(10):
            stub.deliver[0](token())
        stub.post.send()
        await asyncio.sleep(0)  # the events arrive
        await asyncio.sleep(0)
        assert flight.reason == "slow_reader" and stub.cancelled == [0]
        with pytest.raises(ApiError, match="more than 4 tokens"):
            await collect(flight)
        assert flight.drawn == 5

    fly(work)
