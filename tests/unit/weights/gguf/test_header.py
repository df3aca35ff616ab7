"""The front of GGUF files: what honest writers write is read, what is damaged is refused at once."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemwright.errors import UserError
from gemwright.weights.gguf.header import BOOL, FLOAT32, INT32, Array, Header


def text(data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return struct.pack("<Q", len(data)) + data


def key(name: bytes | str, kind: int, data: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + data


def tensor(name: str, sizes: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def raw(
    keys: list[bytes],
    tensors: list[bytes],
    *,
    data: int = 512,
    version: int = 3,
    claimed: tuple[int, int] | None = None,
) -> bytes:
    """A file of these keys and tensors; `claimed` are the numbers of tensors and keys that it states instead."""
    counts = claimed or (len(tensors), len(keys))
    front = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(keys + tensors)
    return front + bytes(-len(front) % 32) + bytes(data)


def refused(tmp_path: Path, data: bytes, *said: str) -> UserError:
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(UserError) as caught:
        Header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    assert str(path) in caught.value.message and caught.value.hint
    for word in said:
        assert word in caught.value.message
    return caught.value


def test_what_the_gguf_package_writes_is_read(build: Any) -> None:
    values = {
        "a.whole": 7,
        "a.float": 1e-6,
        "a.flag": True,
        "a.text": "Grüße\n",
        "a.words": ["x", "", "日本"],
        "a.floats": [0.5, -1.0],
        "a.flags": [True, False],
        "a.ints": [-3, 4],
    }
    header = Header(build(values, {"t": numpy.ones((3, 2), dtype=numpy.float32)}))
    plain = {name: value for name, value in values.items() if not isinstance(value, list)}
    assert {name: header.metadata[name] for name in plain} == plain
    assert header.strings("a.words") == values["a.words"]
    assert header.numbers("a.floats", (FLOAT32,)) == values["a.floats"]
    assert header.numbers("a.flags", (BOOL,)) == values["a.flags"]
    assert header.numbers("a.ints", (INT32,)) == values["a.ints"]
    assert header.entries["t"].shape == (3, 2) and header.entries["t"].form.name == "F32"


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_the_stated_alignment_is_honoured(build: Any, alignment: int) -> None:
    arrays = {"a": numpy.arange(3, dtype=numpy.float32), "b": numpy.arange(5, dtype=numpy.float32)}
    header = Header(build({"general.alignment": alignment}, arrays))
    for name, array in arrays.items():
        entry = header.entries[name]
        assert entry.start % alignment == 0
        assert bytes(header.map[entry.start : entry.stop]) == array.tobytes()


def test_arrays_stay_in_the_file(build: Any) -> None:
    header = Header(build({"a.words": ["word"] * 1000}, {}))
    assert isinstance(header.metadata["a.words"], Array)


def test_a_float_is_the_decimal_that_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    for value in (1e-6, 0.1, 10_000.0, 1e6, 30.0, 16_777_217.0, 3.4028234663852886e38, 1e-45):
        path.write_bytes(raw([key("k", 6, struct.pack("<f", value))], []))
        read = Header(path).metadata["k"]
        assert struct.pack("<f", read) == struct.pack("<f", value)
        assert read == value or value in (16_777_217.0, 1e-45)


HUGE = (1 << 63) - 1
DAMAGED: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "another magic": (b"GGML" + raw([], [])[4:], ("no GGUF",)),
    "empty": (b"", ("empty",)),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n", ("git-lfs",)),
    "only a magic": (b"GGUF", ("version",)),
    "version 1": (raw([], [], version=1), ("version 1",)),
    "version 4": (raw([], [], version=4), ("version 4",)),
    "big-endian": (raw([], [], version=3 << 24), ("big-endian",)),
    "too many keys": (raw([], [], claimed=(0, HUGE)), (str(HUGE), "keys")),
    "too many tensors": (raw([], [], claimed=(HUGE, 0)), (str(HUGE), "tensors")),
    "more keys than there are": (raw([key("k", 0, b"\1")], [], data=0, claimed=(0, 2)), ("keys",)),
    "a name beyond the end": (raw([struct.pack("<Q", HUGE)], []), ("key 0", str(HUGE))),
    "a string beyond the end": (raw([key("k", 8, struct.pack("<Q", 1 << 40))], []), ('"k"', str(1 << 40))),
    "a string that is no text": (raw([key("k", 8, text(b"\xff\xfe"))], []), ('"k"', "UTF-8")),
    "a name that is no text": (raw([key(b"\xff", 0, b"\0")], []), ("UTF-8",)),
    "a name with a line break": (raw([key("a\nb", 0, b"\0")], []), ("a\\nb",)),
    "a key twice": (raw([key("k", 0, b"\0")] * 2, []), ('"k"', "twice")),
    "a kind of value that there is not": (raw([key("k", 13, b"\0")], []), ('"k"', "13")),
    "an array of arrays": (raw([key("k", 9, struct.pack("<IQ", 9, 1))], []), ('"k"', "array of arrays")),
    "an array of nothing known": (raw([key("k", 9, struct.pack("<IQ", 77, 1))], []), ('"k"', "77")),
    "an endless array": (raw([key("k", 9, struct.pack("<IQ", 4, HUGE))], []), ('"k"', str(HUGE))),
    "an endless array of strings": (raw([key("k", 9, struct.pack("<IQ", 8, 1 << 60))], []), ('"k"', str(1 << 60))),
    "a long string in an array": (
        raw([key("k", 9, struct.pack("<IQ", 8, 2) + text("a") + struct.pack("<Q", 1 << 50))], []),
        ('"k"[1]', str((1 << 50) + 8)),
    ),
    "an alignment of 0": (raw([key("general.alignment", 4, struct.pack("<I", 0))], []), ("alignment", "0")),
    "an alignment of 48": (raw([key("general.alignment", 4, struct.pack("<I", 48))], []), ("alignment", "48")),
    "no dimension": (raw([], [tensor("t", ())]), ('"t"', "0 dimensions")),
    "five dimensions": (raw([], [tensor("t", (1,) * 5)]), ('"t"', "5 dimensions")),
    "a size of 0": (raw([], [tensor("t", (32, 0))]), ('"t"', "[32, 0]")),
    "a size beyond the file": (raw([], [tensor("t", (32, 1 << 60))]), ('"t"', "cut short")),
    "an unknown format": (raw([], [tensor("t", kind=99)]), ('"t"', "99")),
    "a format that is not read": (raw([], [tensor("t", kind=23)]), ('"t"', "IQ4_XS")),
    "a row that blocks do not fill": (raw([], [tensor("t", (48, 2), kind=2)]), ('"t"', "48", "Q4_0")),
    "an offset beyond the end": (raw([], [tensor("t", offset=1 << 40)]), ('"t"', "cut short")),
    "an offset between": (raw([], [tensor("t", offset=16)]), ('"t"', "aligned")),
    "two in one place": (raw([], [tensor("a"), tensor("b")]), ('"b"', "overlaps", '"a"')),
    "two that overlap": (raw([], [tensor("a", (64,)), tensor("b", offset=128)]), ('"b"', "overlaps", '"a"')),
    "a tensor twice": (raw([], [tensor("t"), tensor("t", offset=128)]), ('"t"', "twice")),
    "a tensor without a name": (raw([], [tensor("")]), ("name",)),
    "data cut short": (raw([], [tensor("t")], data=100), ('"t"', "cut short")),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_named(tmp_path: Path, case: str) -> None:
    data, said = DAMAGED[case]
    refused(tmp_path, data, *said)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.gguf does not exist"):
        Header(tmp_path / "gone.gguf")


GOOD = raw(
    [
        key("general.architecture", 8, text("gemma3")),
        key("a.words", 9, struct.pack("<IQ", 8, 3) + text("one") + text("two") + text("three")),
        key("a.floats", 9, struct.pack("<IQ3f", 6, 3, 1, 2, 3)),
        key("general.alignment", 4, struct.pack("<I", 32)),
    ],
    [tensor("a", (32, 2), kind=8), tensor("b", offset=96)],
)


@given(at=st.integers(0, len(GOOD) - 513), value=st.integers(0, 255))
def test_any_changed_byte_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, at: int, value: int) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "x.gguf"
    path.write_bytes(GOOD[:at] + bytes([value]) + GOOD[at + 1 :])
    try:
        header = Header(path)
    except UserError as error:
        assert str(path) in error.message
    else:
        assert all(entry.stop <= len(GOOD) for entry in header.entries.values())


@given(keep=st.integers(0, len(GOOD) - 300))
def test_a_file_cut_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, keep: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "x.gguf"
    path.write_bytes(GOOD[:keep])
    with pytest.raises(UserError):
        Header(path)
