"""The answers of one request on their way from the engine's thread to one client, on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from gemwright.engine.request import Completion, Event, Request
from gemwright.server.errors import GONE, SERVER, ApiError, left
from gemwright.server.post import Post
from gemwright.server.worker import Ticket, Worker

Receive = Callable[[], Awaitable[Any]]


class Flight:
    """Submits requests, and gives the events of all of them in the order they come.

    It ends early, and takes its requests out of the engine, when the client leaves, when more than `backlog` events
    wait for it, or at `deadline` (the event loop's clock).
    """

    def __init__(
        self, worker: Worker, requests: Sequence[Request], *, post: Post, deadline: float, backlog: int
    ) -> None:
        """`post`: what the worker's thread tells the event loop by."""
        self.requests = tuple(requests)
        self.completions: list[Completion | None] = [None] * len(requests)
        self.drawn = 0
        self.reason: str | None = None  # why it ended early
        self._worker, self._post, self._deadline, self._backlog = worker, post, deadline, backlog
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, Event | Exception]] = asyncio.Queue()
        self._tickets: list[Ticket] = []
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    def start(self, receive: Receive) -> None:
        """Submits all; `receive` is ASGI's, which tells when the client leaves."""
        late = ApiError(408, "the request took longer than the server allows", kind=SERVER, code="timeout")
        self._timer = self._loop.call_at(self._deadline, self._stop, "timeout", late)
        self._watch = self._loop.create_task(self._watched(receive))
        self._tickets = [
            self._worker.submit(request, self._sender(index)) for index, request in enumerate(self.requests)
        ]

    def close(self) -> None:
        """Takes what is left out of the engine. Harmless when called again."""
        if not self._closed:
            self._closed = True
            self._cancel()
            for ending in (self._timer, self._watch):
                if ending is not None:
                    ending.cancel()

    async def events(self) -> AsyncIterator[tuple[int, Event]]:
        """(number of the answer, event). Raises what ended the flight early."""
        left = len(self.requests)
        while left:
            index, item = await self._events.get()
            if isinstance(item, Exception):
                raise item
            if item.completion is not None:
                self.completions[index] = item.completion
                left -= 1
            yield index, item

    @property
    def done(self) -> list[Completion]:
        """The completions of a flight that has ended."""
        return [one for one in self.completions if one is not None]

    @property
    def tokens(self) -> int:
        """Tokens read and drawn so far, at most: prompts count whole once submitted."""
        return sum(len(request.ids) for request in self.requests) + self.drawn

    def _sender(self, index: int) -> Callable[[Event | Exception], None]:
        return lambda item: self._post.put(self._loop, self._arrive, index, item)

    def _arrive(self, index: int, item: Event | Exception) -> None:
        if self._closed or self.reason:
            return
        if isinstance(item, Event) and item.id is not None:
            self.drawn += 1
        self._events.put_nowait((index, item))
        if self._events.qsize() > self._backlog:
            message = f"more than {self._backlog} tokens waited for the reader"
            self._stop("slow_reader", ApiError(GONE, message, code="slow_reader", close=True))

    def _stop(self, reason: str, error: ApiError) -> None:
        """Ends the flight: its places are free at once, its reader hears of it after what came before."""
        if not self._closed and self.reason is None:
            self.reason = reason
            self._cancel()
            self._events.put_nowait((-1, error))

    def _cancel(self) -> None:
        for ticket in self._tickets:
            self._worker.cancel(ticket)
        self._tickets = []

    async def _watched(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._stop("client_left", left())
