"""Metadata and tensors → a GGUF file, block of rows by block of rows: at most 64 MB of a tensor are in memory.

The weights of RMSNorms are written as float32 with 1 added, which is what the format's readers expect.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from gemwright.errors import UserError
from gemwright.ops.blocks import BF16, F16, F32, Q4_0, Q8_0, Format, quantize
from gemwright.paths import probe, replacing
from gemwright.weights.gguf import header
from gemwright.weights.gguf.header import ALIGNMENT, ARRAY, BOOL, FLOAT32, FORMATS, INT32, STRING, UINT32
from gemwright.weights.gguf.names import is_norm
from gemwright.weights.stream import CHUNK, Source, blocks

TYPES: dict[str, Format] = {form.name.lower(): form for form in (F32, F16, BF16, Q8_0, Q4_0)}
FILE_TYPES = {F32: 0, F16: 1, Q4_0: 2, Q8_0: 7, BF16: 32}  # llama.cpp's numbers for what most tensors are
_PLAIN = {F32: torch.float32, F16: torch.float16, BF16: torch.bfloat16}
_LARGEST = {F16: 65_504.0, Q8_0: 127 * 65_504.0, Q4_0: 8 * 65_504.0}  # a block's scale is a float16
_CODES = {form: number for number, form in FORMATS.items()}


@dataclass(frozen=True, kw_only=True)
class Item:
    """A tensor to write: its name here and in the source, its format, its shape here."""

    name: str
    source: str
    form: Format
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        return math.prod(self.shape[:-1]) * self.form.row_bytes(self.shape[-1])


def write_file(path: Path, metadata: Mapping[str, Any], items: Sequence[Item], source: Source) -> None:
    """Write a file, whole or not at all. Values are strings, bools, floats, whole numbers, or lists of one of them.

    Raises `UserError` for a full disk, and for numbers that an item's format does not hold.
    """
    try:
        with replacing(path) as part, part.open("wb") as out:
            _write(out, metadata, items, source)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}", hint="check the path and the free space"
        ) from error


def target(path: Path, overwrite: bool) -> Path:
    """The path of a file that may be written; `UserError` for a folder, and for a file that is there already."""
    path = probe(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder", hint="give the name of a file")
    if path.exists() and not overwrite:
        raise UserError(f"{path} is there already", hint="give another name, or ask to overwrite it")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent} is no folder", hint="make it first")
    return path


def format_of(word: str) -> Format:
    """The format that a word of `TYPES` means; `UserError` for any other."""
    if word not in TYPES:
        raise UserError(f"tensors are not written as {word!r}", hint=f"use one of {', '.join(TYPES)}")
    return TYPES[word]


def _write(out: BinaryIO, metadata: Mapping[str, Any], items: Sequence[Item], source: Source) -> None:
    out.write(header.MAGIC + struct.pack("<IQQ", header.VERSION, len(items), len(metadata)))
    for key, value in metadata.items():
        kind, data = _value(key, value)
        out.write(_text(key) + struct.pack("<I", kind) + data)
    offset = 0
    for item in items:
        sizes = struct.pack(f"<I{len(item.shape)}Q", len(item.shape), *reversed(item.shape))
        out.write(_text(item.name) + sizes + struct.pack("<IQ", _CODES[item.form], offset))
        offset += -(-item.bytes // ALIGNMENT) * ALIGNMENT
    _fill(out)
    for item in items:
        for rows in _encoded(item, source):
            out.write(rows.contiguous().numpy().data)
        _fill(out)
    out.flush()
    os.fsync(out.fileno())


def _fill(out: BinaryIO) -> None:
    out.write(bytes(-out.tell() % ALIGNMENT))


def _text(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _value(key: str, value: Any) -> tuple[int, bytes]:
    """The kind and the bytes of a value."""
    if isinstance(value, str):
        return STRING, _text(value)
    if isinstance(value, list | tuple):
        kind, _ = _value(key, value[0])
        if kind == STRING:
            return ARRAY, struct.pack("<IQ", kind, len(value)) + b"".join(map(_text, value))
        kind = INT32 if kind == UINT32 else kind
        return ARRAY, struct.pack(f"<IQ{len(value)}{header.SCALARS[kind]}", kind, len(value), *value)
    if isinstance(value, bool):
        kind = BOOL
    elif isinstance(value, float):
        kind = FLOAT32
    else:
        kind = INT32 if key.startswith("general.sampling.") else UINT32
    return kind, struct.pack("<" + header.SCALARS[kind], value)


def _encoded(item: Item, source: Source) -> Iterator[torch.Tensor]:
    """The bytes of a tensor, in blocks of rows whose floats take 64 MB at most."""
    for start, stop in blocks(item.shape[0], 4 * math.prod(item.shape[1:]), CHUNK):
        values = source.view(item.source, start, stop)
        low, high = (float(value) for value in values.aminmax())
        most = _LARGEST.get(item.form, math.inf)
        if not (-most <= low and high <= most) and most < math.inf:  # so that NaN is caught too
            raise UserError(
                f"{source.path}: {item.source} holds numbers that {item.form.name} does not", hint="write bf16 or f32"
            )
        if item.form in _PLAIN:
            rows = (values.float() + 1 if is_norm(item.name) else values).to(_PLAIN[item.form])
        else:
            rows = quantize(values, item.form)
        yield rows.flatten().view(torch.uint8)
        source.release(item.source, start, stop)
