"""A model's tensors → a GGUF file that llama.cpp reads, block of rows by block of rows.

The tensors come from any open checkpoint; at most 64 MB of one are in memory. Norms are written as float32 with 1
added, which is what the format's readers expect. Rows of the table that no piece has are left out.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch

from gemwright.arch.spec import Model
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.ops.blocks import BF16, F16, F32, Q4_0, Q8_0, Format, quantize
from gemwright.paths import probe
from gemwright.weights.gguf import config, header, tokenizer
from gemwright.weights.gguf import generation as sampling
from gemwright.weights.gguf.header import ALIGNMENT, ARRAY, BOOL, FLOAT32, FORMATS, INT32, STRING, UINT32
from gemwright.weights.gguf.names import is_norm, names_of
from gemwright.weights.gguf.tokenizer import Vocabulary
from gemwright.weights.names import Names
from gemwright.weights.stream import CHUNK, Source, blocks, match

TYPES: dict[str, Format] = {form.name.lower(): form for form in (F32, F16, BF16, Q8_0, Q4_0)}
_FILE_TYPES = {F32: 0, F16: 1, Q4_0: 2, Q8_0: 7, BF16: 32}  # llama.cpp's numbers for what most tensors are
_PLAIN = {F32: torch.float32, F16: torch.float16, BF16: torch.bfloat16}
_LARGEST = {F16: 65_504.0, Q8_0: 127 * 65_504.0, Q4_0: 8 * 65_504.0}  # a block's scale is a float16
_CODES = {form: number for number, form in FORMATS.items()}


@dataclass(frozen=True, kw_only=True)
class _Item:
    """A tensor to write: its name here and in the source, its format, its shape here."""

    name: str
    source: str
    form: Format
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape[:-1]) * self.form.row_bytes(self.shape[-1])


def write_gguf(
    path: Path,
    spec: Model,
    source: Source,
    names: Names,
    *,
    vocabulary: Vocabulary | None = None,
    generation: Mapping[str, Any] | None = None,
    linear: str = "q8_0",
    table: str | None = None,
    overwrite: bool = False,
) -> dict[str, tuple[str, ...]]:
    """Write a model as one GGUF file, whole or not at all.

    `source` and `names` give the tensors of `spec`'s parameters. `linear` and `table` are formats of `TYPES`; the
    table, which is also the output layer, is Q8_0 beside Q4_0 unless it is said otherwise. `generation` holds sampling
    defaults in the words of `weights.generation`. Returns what stays in the source, by reason. Raises `UserError` for
    a model that the format has no words for, tensors that are missing or unknown, rows that blocks do not fill,
    numbers that do not fit, a full disk, and a file that is there (unless `overwrite`).
    """
    path = _target(path, overwrite)
    left = match(_parameters(spec), source, names).left
    table = table or ("q8_0" if linear == "q4_0" else linear)
    if vocabulary is not None:
        vocabulary = tokenizer.trimmed(vocabulary, spec.vocab, source.path)
        spec = replace(spec, vocab=len(vocabulary.pieces))
    spec = replace(spec, vision=None)
    metadata = _metadata(spec, vocabulary, generation or {}, _format(linear))
    items = _items(spec, names, _format(linear), _format(table))
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as out:
            _write(out, metadata, items, source)
        os.replace(partial, path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}", hint="check the path and the free space"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return left


def _target(path: Path, overwrite: bool) -> Path:
    path = probe(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder", hint="give the name of a file")
    if path.exists() and not overwrite:
        raise UserError(f"{path} is there already", hint="give another name, or ask to overwrite it")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent} is no folder", hint="make it first")
    return path


def _format(word: str) -> Format:
    if word not in TYPES:
        raise UserError(f"tensors are not written as {word!r}", hint=f"use one of {', '.join(TYPES)}")
    return TYPES[word]


def _parameters(spec: Model) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(parameter.shape) for name, parameter in Decoder(spec).named_parameters()}


def _items(spec: Model, names: Names, linear: Format, table: Format) -> list[_Item]:
    theirs, items = names_of(spec.family), []
    for ours, shape in _parameters(spec).items():
        name = theirs.theirs(ours)
        form = F32 if is_norm(name) else table if ours == "embed.weight" else linear
        if shape[-1] % form.block:
            raise UserError(
                f"{name} has rows of {shape[-1]}, which blocks of {form.name} ({form.block} values) do not fill",
                hint="write f16 or bf16",
            )
        items.append(_Item(name=name, source=names.theirs(ours), form=form, shape=shape))
    return items


def _metadata(
    spec: Model, vocabulary: Vocabulary | None, generation: Mapping[str, Any], linear: Format
) -> dict[str, Any]:
    sizes = config.write_spec(spec)  # first: a family that the format lacks is refused there
    tree: dict[str, Any] = {
        "general.architecture": config.ARCHITECTURES[spec.family],
        "general.type": "model",
        "general.name": spec.name,
        "general.file_type": _FILE_TYPES[linear],
        "general.quantization_version": 2,
    }
    tree |= sizes | sampling.entries(generation)
    return tree | (tokenizer.entries(vocabulary) if vocabulary else {"tokenizer.ggml.model": "no_vocab"})


def _write(out: BinaryIO, metadata: Mapping[str, Any], items: list[_Item], source: Source) -> None:
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


def _encoded(item: _Item, source: Source) -> Iterator[torch.Tensor]:
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
