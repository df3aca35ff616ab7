"""The safetensors format, read from mapped files and written tensor by tensor.

A file is the header's length (8 bytes, little endian), the header (a JSON object: name → dtype, shape, offsets), then
the tensors' bytes without a gap (format description: github.com/huggingface/safetensors). Everything that the header
claims is checked against the file before a tensor is touched.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gemwright.errors import UserError
from gemwright.weights.fields import describe_foreign, shorten

HEADER_LIMIT = 100_000_000  # bytes; the reference implementation's own limit
DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
CODES: dict[torch.dtype, str] = {dtype: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A tensor in a file: `code` is the format's word for its dtype, [start, stop) its bytes behind the header."""

    name: str
    code: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in torch's words."""
        return DTYPES[self.code]

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        return self.stop - self.start


class TensorFile:
    """A mapped safetensors file whose header has been checked. Tensors are views on the map, nothing is copied."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.size = os.fstat(file.fileno()).st_size
                header, self.data_start = _read_header(file, path, self.size)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise UserError(f"{path} does not exist", hint="is the folder complete?") from error
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}", hint="check the path") from error
        self.metadata, self.entries = _check_header(header, path, self.size - self.data_start)

    def view(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Rows [start, stop) of a tensor as a read-only view on the mapped file (a scalar has no rows)."""
        entry = self.entries[name]
        shape = entry.shape
        offset, count = self.data_start + entry.start, math.prod(shape)
        if shape:
            stop = shape[0] if stop is None else stop
            row = math.prod(shape[1:])
            offset, count, shape = (
                offset + start * row * entry.dtype.itemsize,
                (stop - start) * row,
                (stop - start, *shape[1:]),
            )
        if not count:
            return torch.empty(shape, dtype=entry.dtype)
        if offset % entry.dtype.itemsize:  # a foreign writer's unaligned tensor
            raw = bytearray(self._map[offset : offset + count * entry.dtype.itemsize])
            return torch.frombuffer(raw, dtype=entry.dtype).view(shape)
        with warnings.catch_warnings():
            # torch warns that the map is read-only; nobody here writes to a view.
            warnings.filterwarnings("ignore", message=".*buffer is not writable")
            return torch.frombuffer(self._map, dtype=entry.dtype, count=count, offset=offset).view(shape)

    def release(self, name: str, start: int = 0, stop: int | None = None) -> None:
        """Let go of the memory behind rows [start, stop): the pages stay in the system's cache only."""
        entry = self.entries[name]
        first, last = entry.start, entry.stop
        if entry.shape and entry.shape[0] and stop is not None:
            row = entry.bytes // entry.shape[0]
            first, last = entry.start + start * row, entry.start + stop * row
        begin = (self.data_start + first) // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first and hasattr(self._map, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED, begin, self.data_start + last - begin)


def _read_header(file: Any, path: Path, size: int) -> tuple[bytes, int]:
    start = file.read(8)
    if len(start) == 8:
        length = struct.unpack("<Q", start)[0]
        if 2 <= length <= min(HEADER_LIMIT, size - 8):
            header = file.read(length)
            if len(header) == length and header[:1] == b"{":
                return header, 8 + length
    foreign = describe_foreign(start + file.read(64)) if start[:1] != b"{" else None
    if foreign:
        raise UserError(f"{path} {foreign[0]}", hint=foreign[1])
    if len(start) < 8:
        raise UserError(f"{path} has {size} bytes, too few for a safetensors file", hint="fetch it again")
    length = struct.unpack("<Q", start)[0]
    if length > HEADER_LIMIT:
        claim = f"claims a header of {length} bytes, more than the format's {HEADER_LIMIT}"
    elif length > size - 8:
        claim = f"claims a header of {length} bytes and has {size} bytes in all: it was cut short"
    else:
        claim = f"has a header of {length} bytes that does not start with a brace"
    raise UserError(f"{path} {claim}", hint="this is no intact safetensors file; fetch it again")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise ValueError(f"the name {shorten(key)} stands there twice")
        tree[key] = value
    return tree


def _check_header(header: bytes, path: Path, data: int) -> tuple[dict[str, str], dict[str, Entry]]:
    def broken(reason: str) -> UserError:
        return UserError(f"{path}: {reason}", hint="the file is damaged; fetch it again")

    try:
        tree = json.loads(header.decode(), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise broken(f"its header is not valid JSON: {error}") from error
    if not isinstance(tree, dict):
        raise broken("its header is no JSON object")
    metadata = tree.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise broken("its __metadata__ is no table of words")
    entries = [_entry(name, value, broken) for name, value in tree.items()]
    entries.sort(key=lambda entry: (entry.start, entry.stop))
    end = 0
    for entry in entries:
        if entry.start != end:
            kind = (
                "overlaps the tensor before it" if entry.start < end else f"leaves a hole of {entry.start - end} bytes"
            )
            raise broken(f"tensor {shorten(entry.name)} at byte {entry.start} {kind}")
        end = entry.stop
    if end > data:
        raise broken(f"its tensors need {end} bytes and {data} are there: it was cut short")
    if end < data:
        raise broken(f"{data - end} bytes at its end belong to no tensor")
    return metadata, {entry.name: entry for entry in entries}


def _entry(name: str, value: Any, broken: Callable[[str], UserError]) -> Entry:
    shown = shorten(name)
    if not name.isprintable():
        raise broken(f"tensor {shown} has a name that cannot be printed")
    if not isinstance(value, dict) or not {"dtype", "shape", "data_offsets"} <= value.keys():
        raise broken(f"tensor {shown} lacks dtype, shape or data_offsets")
    code, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise broken(f"tensor {shown} has the dtype {shorten(code)}; known: {', '.join(DTYPES)}")
    if not isinstance(shape, list) or len(shape) > 16 or not all(type(n) is int and 0 <= n < 1 << 63 for n in shape):
        raise broken(f"tensor {shown} has the shape {shorten(shape)}")
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(n) is int and 0 <= n < 1 << 63 for n in offsets)
    ):
        raise broken(f"tensor {shown} has the data_offsets {shorten(offsets)}")
    start, stop = offsets
    needed = math.prod(shape) * DTYPES[code].itemsize
    if stop - start != needed:
        raise broken(f"tensor {shown}, {code} {shape}, needs {needed} bytes and has {shorten(stop - start)}")
    return Entry(name=name, code=code, shape=tuple(shape), start=start, stop=stop)


def header_bytes(entries: Iterable[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """The length and header of a file that holds these tensors (name, dtype code, shape) in this order."""
    tree: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, code, shape in entries:
        start, end = end, end + math.prod(shape) * DTYPES[code].itemsize
        tree[name] = {"dtype": code, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the data start at a multiple of 8, so every tensor is aligned
    return struct.pack("<Q", len(text)) + text
