"""A crowd of which half leaves midway, for seconds in an ordinary run and for minutes in a soak.

GEMWRIGHT_SOAK_MINUTES says how many (10).
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy
import pytest

from gemwright.lm import LM

sys.path.append(str(Path(__file__).resolve().parent))
from crowd import Asked, Load, crowd
from serving import Live, running, wait

CLIENTS = 64
LENGTHS = (3, 40, 200)
MINUTES = float(os.environ.get("GEMWRIGHT_SOAK_MINUTES", "10"))
STATUS = Path("/proc/self/status")


@contextmanager
def sampled(seconds: float = 1.0) -> Iterator[list[tuple[float, float]]]:
    """(time in minutes, anonymous memory in MB) of this process, while the block runs."""
    found: list[tuple[float, float]] = []
    over = threading.Event()

    def work() -> None:
        while not over.wait(seconds):
            lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
            found.append((time.monotonic() / 60, int(lines["RssAnon"].split()[0]) / 1024))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def check(live: Live, asked: Sequence[Asked]) -> None:
    """What has to hold of a crowd whatever its size."""
    wrong = [one for one in asked if one.error and not (one.status == 503 and "overloaded" in one.error)]
    assert not wrong, wrong[:3]
    assert all(one.finished or one.left or one.status == 503 for one in asked)
    left = sum(one.left for one in asked)
    assert 0.25 < left / len(asked) < 0.75
    wait(live.idle)
    live.service.lm.engine.forget()
    state = httpx.get(live.url + "/cache").json()
    assert state["used"] == {"local": 0, "global": 0, "recurrent": 0}
    assert (state["running"], state["waiting"], state["sequences"]) == (0, 0, 0)


def slowest(asked: Sequence[Asked]) -> dict[int, float]:
    """The slowest first token of each length, as a multiple of the length's median."""
    times = {length: [one.first for one in asked if one.length == length and one.first] for length in LENGTHS}
    return {length: max(found) / statistics.median(found) for length, found in times.items()}


def test_a_crowd_of_which_half_leaves_is_served_evenly_and_leaves_nothing(lm: LM) -> None:
    with running(lm) as live:
        load = Load(clients=CLIENTS, seconds=3.0, lengths=LENGTHS, tokens=8)
        asked = asyncio.run(crowd(live.url, "pocket", load))
        check(live, asked)
    assert len(asked) > CLIENTS and max(slowest(asked).values()) < 5


@pytest.mark.soak
@pytest.mark.timeout(60 * MINUTES + 600)
@pytest.mark.skipif(not STATUS.exists(), reason="memory is read from /proc")
def test_a_crowd_for_minutes_is_served_evenly_and_memory_stands_still(lm: LM) -> None:
    with running(lm) as live, sampled() as memory:
        load = Load(clients=CLIENTS, seconds=60 * MINUTES, lengths=LENGTHS, tokens=48)
        asked = asyncio.run(crowd(live.url, "pocket", load))
        check(live, asked)
    half = [point for point in memory if point[0] > (memory[0][0] + memory[-1][0]) / 2]
    slope = numpy.polyfit(*zip(*half, strict=True), 1)[0]
    spread = slowest(asked)
    print(f"{len(asked)} requests, {slope:+.2f} MB a minute, slowest first token by median {spread}")
    assert slope < 1.0
    assert max(spread.values()) < 5
