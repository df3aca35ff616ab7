"""The thread that owns the engine: what comes back, who fails, and how it ends."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from gemwright.engine.engine import Engine
from gemwright.engine.request import Completion, Event, Request, Sampling
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.server.errors import Stopped
from gemwright.server.worker import Worker
from gemwright.text.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

IDS = (2, 40, 41, 42)
SHORT = Sampling(temperature=0, max_tokens=8, ignore_eos=True)
LONG = Sampling(temperature=0, max_tokens=40, ignore_eos=True)


@pytest.fixture
def engine(tiny: Callable[[str], Decoder], tokenizer: Tokenizer) -> Engine:
    return Engine(tiny("gemma-3-1b"), tokenizer, context=256, sequences=2, reuse=4)


@pytest.fixture
def worker(engine: Engine) -> Iterator[Worker]:
    found = Worker(engine)
    found.start()
    yield found
    found.stop()


class Inbox:
    """What the worker delivered for one request."""

    def __init__(self) -> None:
        self.queue: queue.Queue[Event | Exception] = queue.Queue()
        self.events: list[Event] = []

    def end(self) -> Completion | Exception:
        """Waits for the last thing."""
        while True:
            item = self.queue.get(timeout=60)
            if isinstance(item, Exception):
                return item
            self.events.append(item)
            if item.completion is not None:
                return item.completion


def submit(worker: Worker, ids: tuple[int, ...] = IDS, sampling: Sampling = SHORT) -> tuple[Any, Inbox]:
    inbox = Inbox()
    return worker.submit(Request(ids=ids, sampling=sampling), inbox.queue.put), inbox


def alone(engine: Engine, ids: tuple[int, ...] = IDS, sampling: Sampling = SHORT) -> Completion:
    twin = Engine(engine.model, engine.tokenizer, context=256)
    return twin.generate(Request(ids=ids, sampling=sampling))


def test_requests_together_get_what_they_get_alone(worker: Worker, engine: Engine) -> None:
    prompts = [(2, *range(10 + n, 20 + n)) for n in range(3)]
    inboxes = [submit(worker, ids)[1] for ids in prompts]
    for ids, inbox in zip(prompts, inboxes, strict=True):
        found = inbox.end()
        assert isinstance(found, Completion) and found.ids == alone(engine, ids).ids
        assert tuple(event.id for event in inbox.events) == found.ids
    assert worker.load == 0 and not engine.busy


def test_a_request_that_cannot_be_run_fails_alone(worker: Worker) -> None:
    _, good = submit(worker)
    _, bad = submit(worker, (2, 100_000))
    assert isinstance(bad.end(), UserError) and isinstance(good.end(), Completion)
    assert worker.load == 0


def test_a_request_that_can_draw_nothing_fails_alone(worker: Worker, engine: Engine) -> None:
    _, before = submit(worker)
    everything = dict.fromkeys(range(engine.model.spec.vocab), float("-inf"))
    _, bad = submit(worker, sampling=Sampling(temperature=0, max_tokens=4, logit_bias=everything))
    _, after = submit(worker)
    found = bad.end()
    assert isinstance(found, UserError) and "forbidden" in str(found)
    assert isinstance(before.end(), Completion) and isinstance(after.end(), Completion)
    assert worker.load == 0


def test_a_step_that_breaks_gives_up_its_newest_request_alone(
    worker: Worker, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, gate = engine.step, threading.Event()

    def broken() -> list[Event]:
        if gate.is_set():
            gate.clear()
            raise RuntimeError("out of memory")
        return step()

    _, good = submit(worker, sampling=Sampling(temperature=0, max_tokens=30, ignore_eos=True))
    good.events.append(good.queue.get(timeout=60))  # type: ignore[arg-type]
    monkeypatch.setattr(engine, "step", broken)
    _, bad = submit(worker, (2, 9, 9), LONG)
    bad.queue.get(timeout=60)
    gate.set()
    assert isinstance(bad.end(), RuntimeError)
    found = good.end()
    assert isinstance(found, Completion) and found.usage.completion == 30


def test_a_cancelled_request_frees_its_place_and_hears_nothing(worker: Worker, engine: Engine) -> None:
    tickets = [submit(worker, (2, 30 + n), LONG) for n in range(4)]  # twice as many as there are places
    for ticket, _ in tickets:
        worker.cancel(ticket)
    _, last = submit(worker)
    assert isinstance(last.end(), Completion)
    assert worker.load == 0 and not engine.busy
    assert all(isinstance(item, Event) and item.completion is None for _, box in tickets for item in box.queue.queue)


def test_the_next_turn_reads_only_what_is_new(worker: Worker) -> None:
    ids = (2, *range(20, 60))
    first = submit(worker, ids)[1].end()
    assert isinstance(first, Completion)
    longer = (*ids, *first.ids, 50, 51)
    second = submit(worker, longer)[1].end()
    assert isinstance(second, Completion) and second.usage.cached == len(ids) + len(first.ids) - 1
    other = submit(worker, (2, *range(70, 90)))[1].end()
    assert isinstance(other, Completion) and other.usage.cached == 0


def test_a_job_runs_on_the_engines_thread_between_steps(worker: Worker) -> None:
    _, long = submit(worker, sampling=LONG)

    def job() -> Generator[None, None, str]:
        for _ in range(3):
            yield
        return threading.current_thread().name

    assert worker.call(job).result(timeout=60) == "engine"
    assert isinstance(long.end(), Completion)


def test_a_job_that_fails_is_heard_and_harms_nothing(worker: Worker) -> None:
    def job() -> Generator[None, None, None]:
        yield
        raise KeyError("lost")

    with pytest.raises(KeyError):
        worker.call(job).result(timeout=60)
    assert isinstance(submit(worker)[1].end(), Completion)


def test_stopping_lets_requests_end_within_their_time(worker: Worker) -> None:
    _, inbox = submit(worker, sampling=LONG)
    worker.stop(60)
    assert isinstance(inbox.end(), Completion) and not worker.alive


def test_stopping_at_once_cancels_and_tells(worker: Worker, engine: Engine) -> None:
    inboxes = [submit(worker, (2, 30 + n), LONG)[1] for n in range(4)]
    worker.stop()
    assert all(isinstance(inbox.end(), Stopped) for inbox in inboxes)
    assert not engine.busy and worker.load == 0


def test_it_tells_when_the_events_of_a_step_are_delivered(engine: Engine) -> None:
    seen: list[Event | Exception] = []
    told: list[int] = []
    worker = Worker(engine, told=lambda: told.append(len(seen)))
    worker.submit(Request(ids=IDS, sampling=SHORT), seen.append)
    worker.submit(Request(ids=IDS[:3], sampling=SHORT), seen.append)
    worker.start()
    worker.stop(60)
    assert len(seen) == told[-1] == 16
    assert set(told) == {0, *range(2, 17, 2)}  # never between the two events of a step


def test_what_comes_after_the_end_is_refused_where_it_comes_from(worker: Worker) -> None:
    worker.stop()
    with pytest.raises(Stopped):
        submit(worker)
    with pytest.raises(Stopped):
        worker.call(lambda: iter(()))  # type: ignore[arg-type, return-value]
    assert worker.load == 0


def test_what_comes_while_the_thread_ends_hears_of_it(worker: Worker) -> None:
    """Requests and jobs that reach the mail after its last regular reading."""
    inbox, future = Inbox(), None

    def last_words() -> bool:
        nonlocal future
        if worker._ends is None:
            return False
        worker.submit(Request(ids=IDS, sampling=LONG), inbox.queue.put)
        future = worker.call(lambda: iter(()))  # type: ignore[arg-type, return-value]
        return True

    worker._finished = last_words  # type: ignore[method-assign]
    worker.stop()
    assert isinstance(inbox.end(), Stopped) and worker.load == 0
    assert future is not None and isinstance(future.exception(timeout=60), Stopped)
