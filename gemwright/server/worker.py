"""The thread that owns the engine. Everything crosses by queues: requests and cancellations in, events out.

What finished requests leave in the cache is the engine's business: one that was made with `reuse` goes on from it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from gemwright.engine.engine import Engine
from gemwright.engine.request import Event, Request, RequestError
from gemwright.ops import threads
from gemwright.server.errors import Stopped

T = TypeVar("T")
Deliver = Callable[[Event | Exception], object]
Job = Generator[None, None, Any]

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Ticket:
    """One submitted request. `deliver` gets its events on the worker's thread, or the exception that ended it."""

    request: Request
    deliver: Deliver
    key: int | None = None  # the engine's number, once submitted


class Worker:
    """Runs an engine on a thread of its own. Every method may be called from any thread."""

    def __init__(self, engine: Engine, told: Callable[[], object] = lambda: None) -> None:
        """`told`: called on the worker's thread when all events of a step, or of what came meanwhile, are delivered."""
        self.engine = engine
        self._told = told
        self._mail: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._open: dict[int, Ticket] = {}
        self._left = 0  # tickets in the mail or in the engine
        self._jobs: list[tuple[Job, Future[Any]]] = []
        self._ends: float | None = None
        self._over = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # ------------------------------------------------------------------------------------------- from other threads

    def start(self) -> None:
        """Begins to work, and from now on computes for the thread that calls this: loading a model took threads."""
        threads.release()
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread works."""
        return self._thread.is_alive()

    @property
    def load(self) -> int:
        """Requests that wait or run."""
        return self._left

    @property
    def jobs(self) -> int:
        """Jobs that are not done."""
        return len(self._jobs)

    def submit(self, request: Request, deliver: Deliver) -> Ticket:
        """Queues a request; the last thing delivered is an event with a completion, or an exception. Raises `Stopped`
        where the thread has ended."""
        ticket = Ticket(request, deliver)
        with self._lock:
            self._check()
            self._left += 1
            self._mail.put(lambda: self._admit(ticket))
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Ends a request and frees its place; nothing more is delivered. Harmless where it has ended."""
        self._mail.put(lambda: self._cancel(ticket))

    def call(self, job: Callable[[], Generator[None, None, T]]) -> Future[T]:
        """Runs a generator on the engine's thread, a part of it between any two steps; its value, in time. Where the
        thread ends before the generator does, it is `Stopped` that the future raises; raises it itself where the thread
        has ended."""
        future: Future[T] = Future()
        with self._lock:
            self._check()
            self._mail.put(lambda: self._jobs.append((job(), future)))
        return future

    def stop(self, seconds: float = 0.0) -> None:
        """Lets what is under way go on for that long, cancels the rest, and ends the thread."""
        if self._thread.is_alive():
            until = time.monotonic() + seconds
            self._mail.put(lambda: setattr(self, "_ends", until))
            self._thread.join()

    def _check(self) -> None:
        if self._over:
            raise Stopped

    # --------------------------------------------------------------------------------------------- on its own thread

    def _run(self) -> None:
        try:
            while not self._finished():
                self._read_mail()
                self._told()  # of refusals: a step may take long
                self._work()
                if self._open:
                    self._step()
                self._told()
        finally:
            with self._lock:
                self._over = True  # whatever comes from now on is refused where it comes from
            self._read_mail()
            for ticket in list(self._open.values()):
                self._close(ticket, Stopped())
                self._cancel_key(ticket)
            self._told()
            for _, future in self._jobs:
                with suppress(InvalidStateError):
                    future.set_exception(Stopped())

    def _finished(self) -> bool:
        if self._ends is None:
            return False
        return time.monotonic() >= self._ends or not (self._open or self._jobs)

    def _read_mail(self) -> None:
        """All that has come; waits for it where there is nothing else to do."""
        wait = not self._open and not self._jobs and self._ends is None and not self._over
        while True:
            try:
                letter = self._mail.get(block=wait)
            except queue.Empty:
                return
            letter()
            wait = False

    def _admit(self, ticket: Ticket) -> None:
        try:
            ticket.key = self.engine.submit(ticket.request)
        except Exception as error:
            self._close(ticket, error)
        else:
            self._open[ticket.key] = ticket

    def _cancel(self, ticket: Ticket) -> None:
        if ticket.key in self._open:
            self._close(ticket, None)
            self._cancel_key(ticket)

    def _cancel_key(self, ticket: Ticket) -> None:
        assert ticket.key is not None, "an open ticket has the engine's number"
        self.engine.cancel(ticket.key)

    def _close(self, ticket: Ticket, last: Event | Exception | None) -> None:
        """Forgets a ticket; `last` is what its owner hears."""
        if ticket.key is not None:
            self._open.pop(ticket.key, None)
        with self._lock:
            self._left -= 1
        if last is not None:
            ticket.deliver(last)

    def _work(self) -> None:
        """One part of one job; the jobs take turns, so that however many there are, requests go on drawing."""
        if not self._jobs:
            return
        job, future = self._jobs.pop(0)
        if future.cancelled():
            job.close()
            return
        with suppress(InvalidStateError):  # nobody waits any more
            try:
                next(job)
            except StopIteration as end:
                future.set_result(end.value)
            except Exception as error:
                future.set_exception(error)
            else:
                self._jobs.append((job, future))

    def _step(self) -> None:
        """One step of the engine, its events delivered.

        A request that cannot go on fails alone: the engine names it. An error of the step itself names nobody; it
        leaves all requests as they were, so the one that came last is given up and the others go on.
        """
        try:
            events = self.engine.step()
        except RequestError as error:
            self._close(self._open[error.request], error.why)
            return
        except Exception as error:
            log.exception("a step failed")
            ticket = self._open[max(self._open)]
            self._close(ticket, error)
            self._cancel_key(ticket)
            return
        for event in events:
            ticket = self._open.get(event.request)
            if ticket is None:
                continue
            if event.completion is None:
                ticket.deliver(event)
            else:
                self._close(ticket, event)
