"""Places that change hands, and a disk tier beneath: an answer is that of a request run alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import schedules
import small
from equivalence import equivalence

from gemwright.cache.snapshot import Copy
from gemwright.engine import shelf
from gemwright.engine.progress import Progress
from gemwright.engine.request import Completion, Request
from gemwright.nn.decoder import Decoder

PROMPTS = 8
LIMIT = 1 << 20  # bytes on the disk: some files give way
Answers = list[tuple[Request, Completion]]


class Contested(schedules.Life):
    """A random schedule with priorities, in an engine of two places whose snapshots go to a disk that earlier lives
    wrote to. `answers`: what requests of earlier lives got alone."""

    def __init__(self, model: Decoder, seed: int, folder: Path, answers: Answers, *, pictures: bool) -> None:
        self.folder, self.answers = folder, answers
        super().__init__(model, seed, pictures=pictures)
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

    def room(self) -> dict[str, Any]:
        reuse = self.draw.choice([0, 1, 3])
        return {"sequences": 2, "chunk": 16, "reuse": reuse, "disk": self.folder, "disk_bytes": LIMIT}

    def ask(self, known: list[Request]) -> Request:
        return replace(super().ask(known), priority=self.draw.randint(-1, 2))

    def alone(self, request: Request) -> Completion:
        for one, completion in self.answers:
            if one == request:
                return completion
        self.answers.append((request, super().alone(request)))
        return self.answers[-1][1]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is worth a few tokens."""
    monkeypatch.setattr(shelf, "LEAST", 16)


def check(model: Decoder, seed: int, folder: Path, *, pictures: bool, bits: bool) -> Counter[str]:
    """Two engines over one folder, one after the other, that are asked much the same; each ends closed and empty."""
    found, answers = Counter[str](), Answers()
    for _ in range(2):
        life = Contested(model, seed, folder, answers, pictures=pictures)
        life.run(PROMPTS)
        life.engine.close()
        schedules.hold(life, bits=bits)
        found += Counter({"gave way": life.gave_way, "files read": life.files_read})
    return found


def check_bits(name: str, seed: int, folder: Path) -> Counter[str]:
    return check(schedules.packed(name), seed, folder, pictures=name != "recurrent", bits=True)


def check_texts(name: str, seed: int, folder: Path) -> Counter[str]:
    return check(schedules.plain(name), seed, folder, pictures=name != "recurrent", bits=False)


@small.needs_kernels
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("requests that gave up their places, over a disk tier = alone, native", "bit")
def test_bits(name: str, tmp_path: Path) -> None:
    """Greedy and sampled ids and log-probabilities, with sessions and cancellations."""
    found = check_bits(name, 4, tmp_path)
    assert found["gave way"] and found["files read"]


@small.needs_kernels
@pytest.mark.soak
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("hundreds of schedules with pre-emption over a disk tier = alone, native", "bit")
def test_bits_of_many(name: str, tmp_path: Path) -> None:
    for seed in range(100):
        check_bits(name, seed, tmp_path / str(seed))


@pytest.mark.parametrize("name", small.NAMES)
@equivalence("requests with pictures that gave up their places, over a disk tier = alone", "text")
def test_texts(name: str, tmp_path: Path) -> None:
    found = check_texts(name, 4, tmp_path)
    assert found["gave way"] and found["files read"]


@pytest.mark.soak
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("hundreds of schedules with pictures and pre-emption over a disk tier = alone", "text")
def test_texts_of_many(name: str, tmp_path: Path) -> None:
    for seed in range(100):
        check_texts(name, seed, tmp_path / str(seed))
