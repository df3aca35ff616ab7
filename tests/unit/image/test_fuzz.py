"""Mutated files: each is decoded or refused with a reason, soon, and without holding on to memory."""

from __future__ import annotations

import random
import signal
import struct
import zlib
from collections import Counter
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from gemwright.errors import UserError
from gemwright.image.decode import decode

SECONDS = 2  # that one file may keep the processor busy
GROWTH = 16 * 2**20  # bytes of this process's own, above what the first files left
EDGES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)


class Hang(BaseException):
    """Not an Exception: no handler of errors may take it for a damaged file."""


def mutate(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """`data` changed in one to eight places, mostly near the start where formats declare themselves; `other` is a
    file to splice in."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 8))):
        reach = len(changed) if dice.random() < 0.75 else min(len(changed), 64)
        place, length = dice.randrange(max(1, reach)), dice.choice((1, 2, 4, 16, 200))
        match dice.randrange(8):
            case 0:
                changed[place : place + 1] = bytes([dice.randrange(256)])
            case 1:
                changed[place : place + 1] = bytes([dice.choice(EDGES)])
            case 2:
                changed[place : place + length] = bytes([dice.choice(EDGES)]) * length
            case 3:
                changed[place : place + 4] = dice.choice(((1, 0, 0, 0), (0, 0, 0, 1), (255,) * 4, (0, 0, 255, 127)))
            case 4:
                del changed[place : place + length]
            case 5:
                changed[place:place] = changed[place : place + length]
            case 6:
                start = dice.randrange(len(other))
                changed[place:place] = other[start : start + length]
            case _:
                del changed[max(place, 20) :]
    return bytes(changed)


def repair(data: bytes) -> bytes:
    """`data` with the right checksums, if it is a PNG: without them hardly a change would get to the decoder."""
    place, repaired = 8, bytearray(data)
    while data.startswith(b"\x89PNG") and place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 8 + length
        repaired[end : end + 4] = struct.pack(">I", zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return bytes(repaired[: len(data)])


def verdict(data: bytes) -> str:
    """What `decode` made of a file: "decoded", or the reason for refusing it without its numbers."""
    try:
        found = decode(data)
    except UserError as refusal:
        assert refusal.message.strip()
        assert refusal.hint.strip()
        return "".join(letter for letter in refusal.message.split("(")[0] if not letter.isdigit())
    assert found.pixels.dtype == np.uint8
    assert found.pixels.size == found.width * found.height * 3
    return "decoded"


def own_memory() -> int:
    """Bytes of this process that belong to it alone; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


def fuzz(files: dict[str, bytes], count: int, seed: int) -> Counter[str]:
    """The verdicts over `count` mutated files."""
    dice, sources, verdicts = random.Random(seed), list(files.values()), Counter()
    settled = 0

    def alarm(number: int, frame: FrameType | None) -> None:
        raise Hang

    previous = signal.signal(signal.SIGVTALRM, alarm)  # counts the time of this process alone, not of its neighbours
    try:
        for index in range(count):
            data = mutate(dice.choice(sources), dice.choice(sources), dice)
            data = repair(data) if dice.random() < 0.8 else data
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            try:
                verdicts[verdict(data)] += 1
            except BaseException as error:
                pytest.fail(f"file {index} of seed {seed}: {error!r}\n{data.hex()}")
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            if index == count // 5:
                settled = own_memory()
    finally:
        signal.signal(signal.SIGVTALRM, previous)
    assert own_memory() - settled < GROWTH
    return verdicts


def test_mutated_files_are_decoded_or_refused_with_a_reason(files: dict[str, bytes]) -> None:
    verdicts = fuzz(files, count=200, seed=1)
    assert 20 < verdicts["decoded"] < 180  # the mutations do damage, and not every time
    assert len(verdicts) > 5  # and of many kinds


@pytest.mark.soak
def test_ten_thousand_mutated_files_are_decoded_or_refused_with_a_reason(files: dict[str, bytes]) -> None:
    verdicts = fuzz(files, count=10_000, seed=2)
    print("\n".join(f"{count:6} {reason}" for reason, count in verdicts.most_common()))
    assert verdicts.total() == 10_000


def test_the_alarm_is_not_taken_for_a_damaged_file(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*arguments: object) -> None:
        raise Hang

    monkeypatch.setattr("gemwright.image.decode.flatten", busy)
    with pytest.raises(Hang):
        decode(files["BMP"])
