"""Every tensor of a checkpoint by name, kind, shape and digest of its bytes: the proof that an export lost nothing."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from gemwright.weights.fields import Fields, read_json
from gemwright.weights.folder import Folder
from gemwright.weights.gguf.source import GgufSource, is_gguf
from gemwright.weights.save import write_json
from gemwright.weights.stream import CHUNK, blocks


@dataclass(frozen=True, kw_only=True)
class Row:
    """One tensor: its kind in the file's word ("BF16", "Q4_0", …), its shape, and the sha256 of its bytes."""

    kind: str
    shape: tuple[int, ...]
    sha256: str


Manifest = Mapping[str, Row]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The names in which two manifests differ: in the first only (`lost`), in the second only (`added`), of another
    kind or shape (`recast`), and equal in both but not in their bytes (`changed`)."""

    lost: tuple[str, ...]
    added: tuple[str, ...]
    recast: tuple[str, ...]
    changed: tuple[str, ...]


def manifest(path: Path) -> Manifest:
    """The manifest of a Hugging Face folder, or of a GGUF file with all its parts. Every byte is read; at most 64 MB of
    a tensor are in memory. Raises `UserError` for what is damaged or missing."""
    return _of_gguf(GgufSource(path)) if is_gguf(path) else _of_folder(Folder(path))


def _of_folder(source: Folder) -> Manifest:
    rows = {}
    for name in source.names():
        entry, digest = source.entry(name), hashlib.sha256()
        count = entry.shape[0] if entry.shape else 1
        for start, stop in blocks(count, math.prod(entry.shape[1:]) * entry.dtype.itemsize, CHUNK):
            data = source.view(name, start, stop).contiguous().flatten().view(torch.uint8)
            digest.update(data.numpy().data)
            source.release(name, start, stop)
        rows[name] = Row(kind=entry.code, shape=entry.shape, sha256=digest.hexdigest())
    return rows


def _of_gguf(source: GgufSource) -> Manifest:
    rows = {}
    for name in source.names():
        shape, digest = source.shape(name), hashlib.sha256()
        count = shape[0] if len(shape) > 1 else 1
        for start, stop in blocks(count, source.bytes(name) // count, CHUNK):
            digest.update(source.raw(name, start, stop).numpy().data)
            source.release(name, start, stop)
        rows[name] = Row(kind=source.kind(name), shape=shape, sha256=digest.hexdigest())
    return rows


def compare(before: Manifest, after: Manifest) -> Difference:
    """In what two manifests differ."""
    both = [name for name in before if name in after]
    recast = [name for name in both if (before[name].kind, before[name].shape) != (after[name].kind, after[name].shape)]
    changed = [name for name in both if name not in set(recast) and before[name].sha256 != after[name].sha256]
    return Difference(
        lost=tuple(name for name in before if name not in after),
        added=tuple(name for name in after if name not in before),
        recast=tuple(recast),
        changed=tuple(changed),
    )


def write_manifest(path: Path, rows: Manifest) -> None:
    """A manifest as a JSON file."""
    write_json(path, {name: asdict(row) for name, row in rows.items()})


def read_manifest(path: Path) -> Manifest:
    """The manifest in a JSON file; `UserError` for what is none."""
    fields = Fields(read_json(path), str(path))
    rows = {}
    for name in fields.tree:
        row = fields.section(name)
        kind, shape, digest = (row.raw(key) for key in ("kind", "shape", "sha256"))
        if not (isinstance(kind, str) and isinstance(digest, str) and isinstance(shape, list)):
            raise fields.refuse(name, "which is no row of a manifest")
        rows[name] = Row(kind=kind, shape=tuple(shape), sha256=digest)
    return rows
