"""Places that change hands, and a disk tier beneath: an answer is that of a request run alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import small
from equivalence import equivalence
from test_engine_pictures import TIE, TOWER
from test_prefix import CHUNK, SPECS, Life, alone, drawn, needs_kernels, packed

from gemwright.cache.snapshot import Copy
from gemwright.engine import shelf
from gemwright.engine.engine import Engine
from gemwright.engine.eyes import Eyes
from gemwright.engine.progress import Progress
from gemwright.engine.request import Completion, Request, Sampling
from gemwright.nn.decoder import Decoder

Expected = Callable[[Request], Completion]
PROMPTS = 8
LIMIT = 1 << 20  # bytes on the disk: some files give way


class Contested(Life):
    """A random schedule with priorities, in an engine of two places whose snapshots go to a disk that earlier lives
    wrote to."""

    def __init__(self, model: Decoder, seed: int, folder: Path, *, pictures: bool) -> None:
        super().__init__(model, seed, reuse=1, pictures=pictures)
        self.engine = Engine(
            model,
            context=200,
            sequences=2,
            chunk=CHUNK,
            defaults=Sampling(),
            eyes=Eyes(lambda: TOWER) if pictures else None,
            reuse=self.draw.choice([0, 1, 3]),
            disk=folder,
            disk_bytes=LIMIT,
        )
        self.gave_way = self.files_read = 0
        places = self.engine._places
        suspend, read = places.suspend, places.shelf.read  # type: ignore[union-attr]

        def suspended(progress: Progress) -> None:
            self.gave_way += 1
            suspend(progress)

        def reading(stored: shelf.Stored) -> Copy | None:
            self.files_read += 1
            return read(stored)

        places.suspend, places.shelf.read = suspended, reading  # type: ignore[method-assign,union-attr]

    def counts(self) -> Counter[str]:
        return Counter({"gave way": self.gave_way, "files read": self.files_read})

    def _submit(self) -> None:
        request = drawn(self.draw, len(self.asked), [*self.asked.values()], self.pictures)
        request = replace(request, priority=self.draw.randint(-1, 2))
        idle = [session for session in self.sessions if not session.busy]
        session = self.draw.choice(idle) if idle and self.draw.random() < 0.3 else None
        self.asked[self.engine.submit(request, session)] = request


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is worth a few tokens."""
    monkeypatch.setattr(shelf, "LEAST", 16)


def lives(model: Decoder, seed: int, folder: Path, *, pictures: bool) -> Iterator[tuple[Contested, Expected]]:
    """Two engines over one folder, one after the other, that are asked much the same; each ends closed and empty."""
    known: list[tuple[Request, Completion]] = []

    def expected(request: Request) -> Completion:
        for one, completion in known:
            if one == request:
                return completion
        known.append((request, alone(model, request, pictures)))
        return known[-1][1]

    for _ in range(2):
        life = Contested(model, seed, folder, pictures=pictures)
        life.run(PROMPTS)
        life.engine.close()
        assert life.empty()
        yield life, expected


def check_bits(name: str, seed: int, folder: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for life, expected in lives(packed(name), seed, folder, pictures=False):
        for key, done in life.done.items():
            plain = expected(life.asked[key])
            assert (done.ids, done.logprobs) == (plain.ids, plain.logprobs)
        found += life.counts()
    return found


@needs_kernels
@pytest.mark.parametrize("name", SPECS)
@equivalence("requests that gave up their places, over a disk tier = alone, native", "bit")
def test_bits(name: str, tmp_path: Path) -> None:
    """Greedy and sampled ids and log-probabilities, with sessions and cancellations."""
    found = check_bits(name, 3, tmp_path)
    assert found["gave way"] and found["files read"]


@needs_kernels
@pytest.mark.soak
@pytest.mark.parametrize("name", SPECS)
@equivalence("hundreds of schedules with pre-emption over a disk tier = alone, native", "bit")
def test_bits_of_many(name: str, tmp_path: Path) -> None:
    for seed in range(100):
        check_bits(name, seed, tmp_path / str(seed))


def check_texts(name: str, seed: int, folder: Path) -> Counter[str]:
    """In float32, where chunks round differently: the greedy ids but for ties of the two best."""
    found: Counter[str] = Counter()
    for life, expected in lives(small.model(name), seed, folder, pictures=name != "recurrent"):
        for key, done in life.done.items():
            if life.asked[key].sampling.temperature:
                continue
            plain = expected(life.asked[key])
            assert done.logprobs and plain.logprobs
            for at, (one, other) in enumerate(zip(done.ids, plain.ids, strict=True)):
                if one != other:  # the two best are one's and the other's: a tie, or a mistake
                    best, second = (value for _, value in plain.logprobs[at].top)
                    assert best - second < TIE
                    break
        found += life.counts()
    return found


@pytest.mark.parametrize("name", small.NAMES)
@equivalence("requests with pictures that gave up their places, over a disk tier = alone", "text")
def test_texts(name: str, tmp_path: Path) -> None:
    found = check_texts(name, 3, tmp_path)
    assert found["gave way"] and found["files read"]


@pytest.mark.soak
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("hundreds of schedules with pictures and pre-emption over a disk tier = alone", "text")
def test_texts_of_many(name: str, tmp_path: Path) -> None:
    for seed in range(100):
        check_texts(name, seed, tmp_path / str(seed))
