"""A sequence on disk: everything that it remembers, so that a new process goes on bit for bit."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gemwright.cache.allocate import Cache
from gemwright.cache.store import Handle
from gemwright.errors import UserError

_FORMAT = "gemwright sequence 2"
_LONGEST = 100_000_000  # bytes of a safetensors header


class Damaged(UserError):
    """A file of the right kind and of this model, whose contents are not as they were written."""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A sequence outside the cache: the tensors of its stores and its ids, none where only a note is (`empty`)."""

    identity: str
    length: int
    high: int
    empty: bool
    tensors: dict[str, Tensor]

    @property
    def ids(self) -> list[int]:
        """What it remembers."""
        return self.tensors["ids"].tolist()


def save(
    cache: Cache, handle: Handle | None, path: str | Path, ids: Sequence[int], note: str = "", adapter: str = ""
) -> None:
    """Write a sequence and the ids that it remembers, all at once: an interrupted write leaves no file.

    `note`: any words that go with it; they can be read even if what follows is damaged. `handle` None: the note alone.
    `adapter`: the fingerprint of the adapter that the ids were read with; the sequence is tied to it. Raises as `copy`
    and `write` do.
    """
    write(copy(cache, handle, ids, adapter), path, note)


def copy(cache: Cache, handle: Handle | None, ids: Sequence[int], adapter: str = "") -> Copy:
    """All that a sequence remembers, with its ids; `adapter` as in `save`. Raises `ValueError` if `ids` are not as many
    as the sequence remembers, if a step of it was never committed, or if it was freed."""
    length, high = (handle.length, handle.high) if handle is not None else (0, 0)
    if handle is not None and handle.freed:
        raise ValueError("this sequence was freed")
    if len(ids) != length:
        raise ValueError(f"{len(ids)} ids for a sequence of {length} tokens")
    if handle is not None and not cache.intact(handle):
        raise ValueError("a long step of this sequence was never committed: there is nothing whole to save")
    tensors: dict[str, Tensor] = {"ids": torch.tensor(list(ids), dtype=torch.int64)}
    if handle is not None:
        for index, (store, place) in enumerate(zip(cache.stores, handle.places, strict=True)):
            for name, tensor in store.dump(place, length).items():
                tensors[f"{index}.{name}"] = tensor.cpu().contiguous()
    return Copy(identity=_identity(cache, adapter), length=length, high=high, empty=handle is None, tensors=tensors)


def write(copy: Copy, path: str | Path, note: str = "") -> None:
    """Write a copy, all at once. It touches no cache: another thread may do it. Raises `UserError` where the file
    cannot be written."""
    facts = {"format": _FORMAT, "identity": copy.identity, "length": copy.length, "high": copy.high}
    facts |= {"empty": copy.empty, "sum": _sum(copy.tensors), "note": zlib.crc32(note.encode())}
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file(copy.tensors, part, metadata={"gemwright": json.dumps(facts), "note": note})
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be written: {error}", hint="choose another place") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def read_note(path: str | Path) -> str:
    """The words of a file that `save` wrote, even if the rest of it is damaged. Raises `UserError` where they are not
    whole."""
    return _head(Path(path))[1]


def load(cache: Cache, path: str | Path, adapter: str = "") -> tuple[Handle | None, list[int]]:
    """Read a sequence into a cache: its handle (None: only a note was saved) and its ids.

    Raises `UserError` for a file of another model, adapter, dtype or slack, and its kind `Damaged` for one that is not
    whole; `CacheFull` where no memory is left.
    """
    found = read(cache, path, adapter)
    return (None, []) if found.empty else (place(cache, found), found.ids)


def peek(path: str | Path) -> tuple[dict[str, Any], list[int], str]:
    """What a file says of itself (`identity`, `length`, `high`, ...), its ids and its note. The note is known to be
    whole; all else is not checked before `read`. Raises `UserError` for what is no saved sequence."""
    path = Path(path)
    facts, note = _head(path)
    with _reading(path), safe_open(path, framework="pt") as file:
        return facts, file.get_tensor("ids").tolist(), note


def read(cache: Cache, path: str | Path, adapter: str = "") -> Copy:
    """A sequence in a file, known to be whole and to fit the cache. Raises as `load` does."""
    path = Path(path)
    facts, _ = _head(path)
    model, _, under = str(facts.get("identity")).partition(" ")
    if model == cache.identity and under != adapter:
        raise UserError(
            f"{path} was saved {'with another adapter' if under else 'without an adapter'}",
            hint="go on with the adapter that it was saved with" if under else "go on without one",
        )
    if model != cache.identity:
        raise UserError(
            f"{path} was saved from another model, dtype, slack or length of window",
            hint="load the checkpoint that it was saved from, in the same dtype and context",
        )
    with _reading(path), safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    length, high = facts.get("length"), facts.get("high")
    if not isinstance(length, int) or not isinstance(high, int) or not 0 <= length <= high:
        raise Damaged(f"{path} is damaged: it claims {length} of {high} tokens", hint="save the sequence again")
    expected: dict[str, tuple[tuple[int, ...], torch.dtype]] = {"ids": ((length,), torch.int64)}
    if not facts.get("empty"):
        for index, store in enumerate(cache.stores):
            for name, shape in store.shapes(length).items():
                expected[f"{index}.{name}"] = shape, store.tensors[name].dtype
    if {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()} != expected:
        raise Damaged(f"{path} is damaged: its tensors are not those of its {length} tokens", hint="save it again")
    if _sum(tensors) != facts.get("sum"):
        raise Damaged(f"{path} is damaged: its contents do not have their sum", hint="save it again")
    if cache.limit is not None and length > cache.limit:
        raise UserError(
            f"{path} holds {length} tokens, this cache {cache.limit} a sequence", hint="allocate a longer context"
        )
    return Copy(
        identity=_identity(cache, adapter), length=length, high=high, empty=bool(facts.get("empty")), tensors=tensors
    )


def place(cache: Cache, copy: Copy) -> Handle:
    """A sequence of the cache that goes on from a copy that was read for it. Raises `CacheFull`."""
    handle = cache.open()
    handle.length, handle.high = copy.length, copy.high
    try:
        for index, (store, where) in enumerate(zip(cache.stores, handle.places, strict=True)):
            start = f"{index}."
            own = {name[len(start) :]: part for name, part in copy.tensors.items() if name.startswith(start)}
            store.restore(where, own, copy.length)
    except ValueError:
        cache.free(handle)
        raise
    return handle


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What cannot be read inside is damaged."""
    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        raise Damaged(f"{path} is no whole saved sequence: {error}", hint="save the sequence again") from error


def _identity(cache: Cache, adapter: str) -> str:
    return f"{cache.identity} {adapter}" if adapter else cache.identity


def _head(path: Path) -> tuple[dict[str, Any], str]:
    """What the file says of itself, and its note: a safetensors header, read on its own because what follows may be
    cut off."""
    hint = "give a file that was saved from a conversation"
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            data = file.read(size) if size <= _LONGEST else b""
        words = json.loads(data)["__metadata__"]
        facts, note = json.loads(words["gemwright"]), words["note"]
    except FileNotFoundError:
        raise UserError(f"no saved sequence at {path}", hint="check the path") from None
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is no whole saved sequence: {error}", hint=hint) from error
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
        raise UserError(f"{path} is no saved sequence", hint=hint)
    if not isinstance(note, str) or zlib.crc32(note.encode()) != facts.get("note"):
        raise UserError(f"{path} is damaged at its beginning", hint=hint)
    return facts, note


def _sum(tensors: dict[str, Tensor]) -> int:
    """A check sum over all bytes, in the order of the names."""
    found = 0
    for name in sorted(tensors):
        found = zlib.crc32(tensors[name].contiguous().flatten().view(torch.uint8).numpy().data, found)
    return found
