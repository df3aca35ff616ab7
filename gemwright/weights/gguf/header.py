"""The front of a GGUF file, read from a map: its metadata, and where its tensors are.

Magic, version, two counts, then the metadata (name, kind, value), then the tensors (name, sizes, kind, offset), then at
the next multiple of the alignment the data (format: ggml's docs/gguf.md). Every count and length is held against the
file's size before anything is made of it, so a damaged file is refused at once and costs no memory. Arrays stay in the
file until somebody asks for them: a vocabulary has 262,144 entries.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemwright.errors import UserError
from gemwright.ops.blocks import BF16, F16, F32, Q4_0, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, Format
from gemwright.weights.fields import describe_foreign, shorten

MAGIC = b"GGUF"
VERSION = 3  # written; version 2 has the same layout
ALIGNMENT = 32  # bytes, where the metadata state no other
HEADER_LIMIT = 256 << 20  # bytes; that of the largest Gemma has 8 MB
_KEYS, _TENSORS, _NAME = 1 << 16, 1 << 16, 1 << 16  # a Gemma has 50 keys and 808 tensors
_DIMENSIONS = 4
_ELEMENTS = 1 << 22  # of an array; a vocabulary has 262,144 pieces

BOOL, STRING, ARRAY, UINT32, INT32, FLOAT32 = 7, 8, 9, 4, 5, 6
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", UINT32: "I", INT32: "i", FLOAT32: "f", BOOL: "?", 10: "Q", 11: "q", 12: "d"}

FORMATS: dict[int, Format] = {
    0: F32, 1: F16, 2: Q4_0, 6: Q5_0, 7: Q5_1, 8: Q8_0, 12: Q4_K, 13: Q5_K, 14: Q6_K, 30: BF16,
}  # fmt: skip
_UNREAD = {
    3: "Q4_1", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip


@dataclass(frozen=True)
class Array:
    """An array in the metadata: the kind of its elements, how many there are, and the first byte of the first."""

    kind: int
    count: int
    start: int


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A tensor in a file: its format, its shape (rows first), and its bytes [start, stop) in the file."""

    name: str
    form: Format
    shape: tuple[int, ...]
    start: int
    stop: int


class Header:
    """A mapped GGUF file whose header has been checked. `metadata` holds plain values and `Array`s."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.size = os.fstat(file.fileno()).st_size
                start = file.read(64)
                if start[:4] != MAGIC:
                    what, todo = describe_foreign(start) or ("is no GGUF file", "is it another file?")
                    raise UserError(f"{path} {what}", hint=todo)
                self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise UserError(f"{path} does not exist", hint="is the download complete?") from error
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}", hint="check the path") from error
        self._at = 4
        self._limit = min(self.size, HEADER_LIMIT)
        keys, tensors = self._counts()
        self.metadata: dict[str, Any] = {}
        for _ in range(keys):
            self._read_key()
        alignment = self.metadata.get("general.alignment", ALIGNMENT)
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            raise self.broken(f"general.alignment is {shorten(alignment)}, which is no power of two")
        claims = [self._claim() for _ in range(tensors)]
        self.data_start = -(-self._at // alignment) * alignment
        self.entries = self._entries(claims, alignment)

    def broken(self, reason: str) -> UserError:
        """The error for a damaged file; the caller raises it."""
        return UserError(f"{self.path}: {reason}", hint="the file is damaged; fetch it again")

    def strings(self, key: str) -> list[str]:
        """An array of strings; `UserError` when the key is missing or holds something else."""
        array = self._array(key, (STRING,))
        ends = self._ends(key, array.start, array.count)
        starts = itertools.chain((array.start,), ends)
        try:
            return [self.map[start + 8 : end].decode("utf-8") for start, end in zip(starts, ends, strict=False)]
        except UnicodeDecodeError as error:
            raise self.broken(f"{shorten(key)} holds a string that is no UTF-8 text") from error

    def numbers(self, key: str, kinds: tuple[int, ...]) -> list[Any]:
        """An array of numbers of one of these kinds; `UserError` when the key is missing or holds something else."""
        array = self._array(key, kinds)
        return list(struct.unpack_from(f"<{array.count}{SCALARS[array.kind]}", self.map, array.start))

    def _array(self, key: str, kinds: tuple[int, ...]) -> Array:
        array = self.metadata.get(key)
        if not isinstance(array, Array) or array.kind not in kinds:
            raise self.broken(f"{key} is {'missing' if array is None else 'not an array of the right kind'}")
        return array

    def _take(self, count: int, what: str) -> int:
        """The place of the next `count` bytes, which are then behind us."""
        at = self._at
        if count > self._limit - at:
            if self._limit < self.size:
                raise self.broken(f"{what} reaches beyond {HEADER_LIMIT} bytes, more than any header needs")
            raise self.broken(f"{what} needs {count} bytes at byte {at} and {self.size - at} are left")
        self._at = at + count
        return at

    def _number(self, kind: int, what: str) -> Any:
        layout = struct.Struct("<" + SCALARS[kind])
        return layout.unpack_from(self.map, self._take(layout.size, what))[0]

    def _string(self, what: str, most: int = HEADER_LIMIT) -> str:
        length = self._number(10, what)
        if length > most:
            raise self.broken(f"{what} claims {length} bytes, more than {most}")
        at = self._take(length, what)
        try:
            return self.map[at : at + length].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.broken(f"{what} is no UTF-8 text") from error

    def _counts(self) -> tuple[int, int]:
        version = self._number(UINT32, "the version")
        if version & 0xFFFF == 0 and version:
            raise UserError(f"{self.path} is a big-endian GGUF file", hint="give the little-endian version")
        if version not in (2, VERSION):
            raise UserError(f"{self.path} is of GGUF version {version}; 2 and 3 are read", hint="convert it anew")
        tensors, keys = self._number(10, "the number of tensors"), self._number(10, "the number of keys")
        for count, most, least, what in ((tensors, _TENSORS, 32, "tensors"), (keys, _KEYS, 13, "keys")):
            if count > most or count * least > self.size - self._at:
                raise self.broken(f"claims {count} {what} in {self.size} bytes")
        return keys, tensors

    def _read_key(self) -> None:
        what = f"key {len(self.metadata)}"
        key = self._string(f"the name of {what}", _NAME)
        shown = shorten(key)
        if not key.isprintable() or not key:
            raise self.broken(f"{what} has the name {shown}")
        if key in self.metadata:
            raise self.broken(f"the key {shown} stands there twice")
        kind = self._number(UINT32, shown)
        self.metadata[key] = self._read_array(key) if kind == ARRAY else self._read_value(kind, shown)

    def _read_value(self, kind: int, what: str) -> Any:
        if kind == STRING:
            return self._string(what)
        if kind not in SCALARS:
            raise self.broken(f"{what} is of kind {kind}, which the format does not have")
        value = self._number(kind, what)
        return _shortest(value) if kind == FLOAT32 else value

    def _read_array(self, key: str) -> Array:
        kind, count = self._number(UINT32, key), self._number(10, key)
        if kind == ARRAY:
            raise self.broken(f"{shorten(key)} is an array of arrays")
        if kind != STRING and kind not in SCALARS:
            raise self.broken(f"{shorten(key)} is an array of kind {kind}, which the format does not have")
        least = 8 if kind == STRING else struct.calcsize("<" + SCALARS[kind])
        if count > _ELEMENTS or count * least > self._limit - self._at:
            raise self.broken(f"{shorten(key)} claims {count} elements and {self.size - self._at} bytes are left")
        start = self._at
        if kind != STRING:
            self._take(count * least, key)
        elif count:
            self._at = self._ends(key, start, count)[-1]
        return Array(kind, count, start)

    def _ends(self, key: str, start: int, count: int) -> list[int]:
        """Where each of `count` strings ends; the first begins at `start`."""
        ends, length = [], struct.Struct("<Q").unpack_from
        for index in range(count):
            end = start + 8 + length(self.map, start)[0] if start + 8 <= self._limit else start + 8
            if end > self._limit:
                self._at = start
                self._take(end - start, f"{shorten(key)}[{index}]")
            ends.append(end)
            start = end
        return ends

    def _claim(self) -> tuple[str, tuple[int, ...], int, int]:
        """What the header says of the next tensor: name, sizes (the row's first), kind, offset."""
        name = self._string("the name of a tensor", _NAME)
        shown = shorten(name)
        if not name.isprintable() or not name:
            raise self.broken(f"a tensor has the name {shown}, which cannot be printed")
        dimensions = self._number(UINT32, shown)
        if not 1 <= dimensions <= _DIMENSIONS:
            raise self.broken(f"tensor {shown} has {dimensions} dimensions; 1 to {_DIMENSIONS} are possible")
        sizes = tuple(self._number(10, shown) for _ in range(dimensions))
        return name, sizes, self._number(UINT32, shown), self._number(10, shown)

    def _entries(self, claims: list[tuple[str, tuple[int, ...], int, int]], alignment: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        end, before = 0, ""
        for name, sizes, kind, offset in sorted(claims, key=lambda claim: claim[3]):
            entry = self._entry(name, sizes, kind, offset)
            if name in entries:
                raise self.broken(f"the tensor {shorten(name)} stands there twice")
            if offset % alignment:
                raise self.broken(f"tensor {shorten(name)} at byte {offset} is not aligned to {alignment}")
            if offset < end:
                raise self.broken(f"tensor {shorten(name)} at byte {offset} overlaps {shorten(before)}")
            if entry.stop > self.size:
                raise self.broken(
                    f"tensor {shorten(name)} ends at byte {entry.stop} and the file has {self.size}: it was cut short"
                )
            entries[name] = entry
            end, before = offset + entry.stop - entry.start, name
        return entries

    def _entry(self, name: str, sizes: tuple[int, ...], kind: int, offset: int) -> Entry:
        shown = shorten(name)
        if kind not in FORMATS:
            known = ", ".join(form.name for form in FORMATS.values())
            stored = f"as {_UNREAD[kind]}" if kind in _UNREAD else f"in format {kind}"
            raise UserError(
                f"{self.path}: tensor {shown} is stored {stored}, which is not read",
                hint=f"give a version in one of {known}",
            )
        form = FORMATS[kind]
        if min(sizes) < 1:
            raise self.broken(f"tensor {shown} has the sizes {list(sizes)}")
        if sizes[0] % form.block:
            raise self.broken(f"tensor {shown} has rows of {sizes[0]}, which blocks of {form.name} do not fill")
        total = form.row_bytes(sizes[0])
        for size in sizes[1:]:
            total *= size
        start = self.data_start + offset
        return Entry(name=name, form=form, shape=sizes[::-1], start=start, stop=start + total)


def _shortest(value: float) -> float:
    """The shortest decimal number that a float32 stands for: 1e-6 is stored as 9.99999997e-07 and meant as 1e-6."""
    if not abs(value) < 1e38:
        return value
    for digits in range(6, 9):
        rounded = float(f"{value:.{digits}g}")
        if struct.pack("<f", rounded) == struct.pack("<f", value):
            return rounded
    return value
