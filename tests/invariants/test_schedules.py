"""Whatever else an engine does meanwhile, and whatever it remembers, an answer is the one that a request gets alone.

Lengths, pictures, grammars, penalties and stop strings; priorities, arrivals, cancellations, also of requests whose
pictures are half encoded, conversations that are gone on with, forked, saved and opened again: all drawn from a seed.
"""

from __future__ import annotations

import pytest
import schedules
import small
from equivalence import equivalence
from schedules import Seen

SEEDS = 2  # schedules for each model, of this many requests; in a soak a hundred times as many
REQUESTS = 12
SEEING = ("global", "capped", "local")


def bits(name: str, seed: int) -> Seen:
    return schedules.check(schedules.packed(name), seed, REQUESTS, pictures=name in SEEING, bits=True)


def texts(name: str, seed: int) -> Seen:
    return schedules.check(schedules.plain(name), seed, REQUESTS, pictures=name in SEEING, bits=False)


@small.needs_kernels
@pytest.mark.feature("batching", "reuse", "sessions", "structured output")
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("requests in a random schedule = each alone and read anew, native", "bit")
def test_bits(name: str) -> None:
    seen = [bits(name, seed) for seed in range(SEEDS)]
    assert sum(one.cached for one in seen) > 0
    assert (sum(one.half for one in seen) > 0) == (name in SEEING)


@small.needs_kernels
@pytest.mark.soak
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("requests in hundreds of random schedules = each alone and read anew, native", "bit")
def test_bits_of_many(name: str) -> None:
    seen = [bits(name, seed) for seed in range(SEEDS * 100)]
    assert min(sum(one.cut for one in seen), sum(one.cached for one in seen)) > 0


@pytest.mark.feature("batching", "reuse", "sessions", "structured output")
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("requests in a random schedule = each alone and read anew", "text")
def test_texts(name: str) -> None:
    seen = [texts(name, seed) for seed in range(SEEDS)]
    assert sum(one.cached for one in seen) > 0
    assert (sum(one.half for one in seen) > 0) == (name in SEEING)


@pytest.mark.soak
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("requests in hundreds of random schedules = each alone and read anew", "text")
def test_texts_of_many(name: str) -> None:
    seen = [texts(name, seed) for seed in range(SEEDS * 100)]
    assert min(sum(one.cut for one in seen), sum(one.cached for one in seen)) > 0
