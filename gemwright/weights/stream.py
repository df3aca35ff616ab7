"""Weights from mapped files into a model on the meta device, a block of rows at a time.

Every name in the file and every name in the model is used once, or stands in the report of what was left in the file
and why. At most `CHUNK` bytes of a file are in memory beside the model.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from gemwright.arch.spec import Model
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.ops.matmul import Matrix
from gemwright.weights.fields import shorten
from gemwright.weights.folder import Folder
from gemwright.weights.names import HEADS, Names, find_prefix, is_rotary, is_vision, table

CHUNK = 64 << 20  # bytes
ROUNDED = 1 << 20  # bytes that are rounded to another form at once: what that takes stays in the processor's cache
FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_PLAIN = ("F64", "F32", "F16", "BF16")  # kinds of a packed source that are floats as they are

# Why a tensor may stay in the file. The first two lose nothing: their values are in the model.
ANGLES = "tables of angles, computed here"
EQUAL_HEAD = "the output table, equal to the embedding table"
VISION = "the vision half, which text does not need"
LOSSLESS = (ANGLES, EQUAL_HEAD)

# name and meta parameter → where its values go: any tensor of the same shape, on any device, of any float dtype
Place = Callable[[str, nn.Parameter], torch.Tensor]


class Source(Protocol):
    """Tensors by name, read in blocks of rows: a folder of safetensors files, or another format's reader."""

    @property
    def path(self) -> Path: ...

    def names(self) -> list[str]: ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def dtype(self, name: str) -> torch.dtype: ...

    def view(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor: ...

    def release(self, name: str, start: int = 0, stop: int | None = None) -> None: ...


@runtime_checkable
class PackedSource(Source, Protocol):
    """A source that holds tensors in packed forms: `kind` names a tensor's, `raw` gives rows as bytes, `scales` what
    the bytes of these rows are multiplied with (None: they carry it), `bytes` is what a tensor takes in the file."""

    def kind(self, name: str) -> str: ...

    def raw(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor: ...

    def scales(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor | None: ...

    def bytes(self, name: str) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Match:
    """The model's parameters and a file's tensors, paired. `left` lists what stays in the file, by reason."""

    pairs: tuple[tuple[str, str], ...]  # (model's name, file's name)
    left: dict[str, tuple[str, ...]]


def match(parameters: dict[str, tuple[int, ...]], source: Source, names: Names) -> Match:
    """Pair every parameter (name → shape) with a tensor of the file.

    `UserError` names what is missing, left over or of another shape, with the nearest names.
    """
    found: dict[str, str] = {}
    left: dict[str, list[str]] = {}
    strangers = []
    for name in source.names():
        ours = names.ours(name)
        if ours in parameters:
            found[ours] = name
        elif is_rotary(name):
            left.setdefault(ANGLES, []).append(name)
        elif is_vision(name):
            left.setdefault(VISION, []).append(name)
        elif name in HEADS:
            left.setdefault(EQUAL_HEAD, []).append(name)
        else:
            strangers.append(name)
    missing = [names.theirs(name) for name in parameters if name not in found]
    _refuse_unmatched(source, missing, strangers)
    for ours, name in found.items():
        _check(source, name, parameters[ours])
    for head in left.get(EQUAL_HEAD, []):
        _check(source, head, parameters["embed.weight"])
        _check_tied(source, head, found["embed.weight"])
    return Match(
        pairs=tuple((ours, found[ours]) for ours in parameters),
        left={reason: tuple(sorted(listed)) for reason, listed in left.items()},
    )


def _refuse_unmatched(source: Source, missing: Sequence[str], strangers: Sequence[str]) -> None:
    if not missing and not strangers:
        return
    said = []
    if missing:
        said.append(f"{len(missing)} tensors are missing: {_listed(missing)}")
    if strangers:
        said.append(f"{len(strangers)} tensors are unknown: {_listed(strangers)}")
    near = [
        f"{shorten(name)} may be {shorten(close[0])}"
        for name in missing[:3]
        if (close := difflib.get_close_matches(name, strangers[:1000], n=1))
    ]
    hint = "; ".join(near) or "do the config and the weights belong together?"
    raise UserError(f"{source.path}: {'; '.join(said)}", hint=hint)


def _listed(names: Iterable[str], limit: int = 4) -> str:
    listed = list(names)
    return ", ".join(shorten(name) for name in listed[:limit]) + (", …" if len(listed) > limit else "")


def _check(source: Source, name: str, shape: tuple[int, ...]) -> None:
    if source.shape(name) != shape:
        raise UserError(
            f"{source.path}: {shorten(name)} has shape {list(source.shape(name))}, the config asks for {list(shape)}",
            hint="do the config and the weights belong together?",
        )
    if source.dtype(name) not in FLOATS:
        raise UserError(
            f"{source.path}: {shorten(name)} is stored as {_word(source.dtype(name))}",
            hint="a quantised checkpoint of another program? give the float version, or a GGUF file",
        )


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _check_tied(source: Source, head: str, embedding: str) -> None:
    """An output table in the file must be the embedding table, bit for bit: the model has only one of them."""
    rows = source.shape(head)[0]
    same = source.dtype(head) == source.dtype(embedding)
    for start, stop in blocks(rows, _row_bytes(source, head), CHUNK // 2):
        same = same and torch.equal(
            source.view(head, start, stop).view(torch.uint8), source.view(embedding, start, stop).view(torch.uint8)
        )
        source.release(head, start, stop)
        source.release(embedding, start, stop)
    if not same:
        raise UserError(
            f"{source.path}: {shorten(head)} differs from the embedding table",
            hint="its output table was trained apart, and a Gemma has one table for both",
        )


def _row_bytes(source: Source, name: str) -> int:
    shape = source.shape(name)
    return torch.Size(shape[1:]).numel() * source.dtype(name).itemsize


def blocks(rows: int, row_bytes: int, chunk: int = CHUNK, together: int = 1) -> Iterable[tuple[int, int]]:
    """[start, stop) of consecutive blocks of rows with at most `chunk` bytes each, but of `together` rows or a multiple
    at least."""
    step = max(1, chunk // max(1, row_bytes) // together) * together
    return ((start, min(start + step, rows)) for start in range(0, rows, step))


def is_packed(source: Source, name: str) -> bool:
    """Whether a tensor is stored in another form than plain floats."""
    return isinstance(source, PackedSource) and source.kind(name) not in _PLAIN


def stored_bytes(source: Source, name: str) -> int:
    """Bytes of a tensor in its file."""
    if isinstance(source, PackedSource):
        return source.bytes(name)
    return torch.Size(source.shape(name)).numel() * source.dtype(name).itemsize


def main_dtype(source: Source, names: Iterable[str]) -> torch.dtype:
    """The dtype in which most bytes of these tensors are stored."""
    held: dict[torch.dtype, int] = {}
    for name in names:
        dtype = source.dtype(name)
        held[dtype] = held.get(dtype, 0) + torch.Size(source.shape(name)).numel() * dtype.itemsize
    return max(held, key=lambda dtype: held[dtype])


def is_rounded(stored: torch.dtype, held: torch.dtype) -> bool:
    """Whether values of the first dtype may change when they are held in the second."""
    return torch.promote_types(stored, held) != held


def copy_rows(source: Source, name: str, destination: torch.Tensor, chunk: int = CHUNK) -> None:
    """All rows of a tensor into `destination` (same shape; its dtype and device are its own)."""
    if not destination.dim():
        destination.copy_(source.view(name))
        return
    for start, stop in blocks(destination.shape[0], _row_bytes(source, name), chunk):
        destination[start:stop].copy_(source.view(name, start, stop))
        source.release(name, start, stop)


def pack_rows(source: Source, name: str, matrix: Matrix, chunk: int = CHUNK) -> None:
    """All rows of a tensor into a packed matrix: a file's blocks of its form as they are, others by their values."""
    as_stored = isinstance(source, PackedSource) and source.kind(name).lower() == matrix.form
    # Rounding makes several floats of each value on the way.
    size = chunk if as_stored else min(chunk, ROUNDED)
    for start, stop in blocks(matrix.outputs, _row_bytes(source, name), size, matrix.together):
        if as_stored:
            assert isinstance(source, PackedSource)
            matrix.write_bytes(start, source.raw(name, start, stop), source.scales(name, start, stop))
        else:
            matrix.write(start, source.view(name, start, stop))
        source.release(name, start, stop)


def names_for(spec: Model, source: Source) -> Names:
    """The renaming between a model and a Hugging Face file; `UserError` when that has no embedding table."""
    prefix = find_prefix(source.names())
    if prefix is None:
        raise UserError(
            f"{source.path} holds no embedding table (…embed_tokens.weight), among {len(source.names())} tensors: "
            f"{_listed(source.names())}",
            hint="is this a whole Gemma, or an adapter?",
        )
    return table(spec.family, prefix)


def load_into(
    model: nn.Module,
    source: Path | Source,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    names: Names | None = None,
    place: Place | None = None,
    matrices: dict[str, Matrix] | None = None,
    chunk: int = CHUNK,
) -> Match:
    """Fill a model that was built on the meta device from a folder (or another format's reader).

    `names` is the renaming between the two; without it the model must be a `Decoder` and the source in Hugging Face's
    names (`ValueError` for any other model). Values are cast to `dtype` (None: the dtype of most of the file) on
    `device`, unless `place` gives the destination of a parameter. Parameters of `matrices` are packed into those, block
    by block of rows, and stay on meta in the model. Returns what was paired and what was left, by reason.
    """
    opened: Source = Folder(source) if isinstance(source, Path) else source
    parameters = dict(model.named_parameters())
    if names is None:
        if not isinstance(model, Decoder):
            raise ValueError(f"a {type(model).__name__} is filled by a renaming of its own, and none was given")
        names = names_for(model.spec, opened)
    paired = match({name: tuple(parameter.shape) for name, parameter in parameters.items()}, opened, names)
    dtype = dtype or main_dtype(opened, [name for _, name in paired.pairs])
    with torch.no_grad():
        for ours, theirs in paired.pairs:
            meta = parameters[ours]
            if matrices and ours in matrices:
                pack_rows(opened, theirs, matrices[ours], chunk)
                continue
            values = place(ours, meta) if place else _room(ours, meta, dtype, device)
            copy_rows(opened, theirs, values, chunk)
            _assign(model, meta, nn.Parameter(values, requires_grad=meta.requires_grad and values.is_floating_point()))
    return paired


def _room(name: str, meta: nn.Parameter, dtype: torch.dtype, device: torch.device | str) -> torch.Tensor:
    try:
        return torch.empty(meta.shape, dtype=dtype, device=device)
    except RuntimeError as error:  # torch has one word for every allocation that fails
        size = meta.numel() * dtype.itemsize
        raise UserError(
            f"no room on {device} for {name}, {size:,} bytes: {str(error).splitlines()[0]}",
            hint="see what fits: gemwright plan",
        ) from error


def _assign(model: nn.Module, old: nn.Parameter, new: nn.Parameter) -> None:
    """Put `new` wherever `old` stands: a tied table may be reached from two modules."""
    for module in model.modules():
        for leaf, parameter in module._parameters.items():
            if parameter is old:
                module._parameters[leaf] = new
