"""A sequence on disk: everything that it remembers, so that a new process goes on bit for bit."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gemwright.cache.allocate import Cache
from gemwright.cache.store import Handle
from gemwright.errors import UserError

_FORMAT = "gemwright sequence 1"


def save(cache: Cache, handle: Handle, path: str | Path, ids: Sequence[int]) -> None:
    """Write a sequence and the ids that it remembers, all at once: an interrupted write leaves no file.

    Raises `UserError` where the file cannot be written; `ValueError` if `ids` are not as many as the sequence
    remembers, if a step of it was never committed, or if it was freed.
    """
    if handle.freed:
        raise ValueError("this sequence was freed")
    if len(ids) != handle.length:
        raise ValueError(f"{len(ids)} ids for a sequence of {handle.length} tokens")
    if not cache.intact(handle):
        raise ValueError("a long step of this sequence was never committed: there is nothing whole to save")
    tensors: dict[str, Tensor] = {"ids": torch.tensor(list(ids), dtype=torch.int64)}
    for index, (store, place) in enumerate(zip(cache.stores, handle.places, strict=True)):
        for name, tensor in store.dump(place, handle.length).items():
            tensors[f"{index}.{name}"] = tensor.cpu().contiguous()
    facts = {"format": _FORMAT, "identity": cache.identity, "length": handle.length, "high": handle.high}
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file(tensors, part, metadata={"gemwright": json.dumps(facts)})
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be written: {error}", hint="choose another place") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def load(cache: Cache, path: str | Path) -> tuple[Handle, list[int]]:
    """Read a sequence into a cache: its handle and its ids.

    Raises `UserError` for a file that is damaged, or of another model, dtype or slack; `CacheFull` where no memory is
    left.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("gemwright", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except FileNotFoundError:
        raise UserError(f"no saved sequence at {path}", hint="check the path") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is no whole saved sequence: {error}", hint="save the sequence again") from error
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
        raise UserError(f"{path} is no saved sequence", hint="give a file that was saved from a conversation")
    if facts.get("identity") != cache.identity:
        raise UserError(
            f"{path} was saved from another model, dtype, slack or length of window",
            hint="load the checkpoint that it was saved from, in the same dtype and context",
        )
    length, high = facts.get("length"), facts.get("high")
    if not isinstance(length, int) or not isinstance(high, int) or not 0 <= length <= high:
        raise UserError(f"{path} is damaged: it claims {length} of {high} tokens", hint="save the sequence again")
    expected: dict[str, tuple[int, ...]] = {"ids": (length,)}
    for index, store in enumerate(cache.stores):
        expected |= {f"{index}.{name}": shape for name, shape in store.shapes(length).items()}
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != expected:
        raise UserError(f"{path} is damaged: its tensors are not those of its {length} tokens", hint="save it again")
    if cache.limit is not None and length > cache.limit:
        raise UserError(
            f"{path} holds {length} tokens, this cache {cache.limit} a sequence", hint="allocate a longer context"
        )
    handle = cache.open()
    handle.length, handle.high = length, high
    try:
        for index, (store, place) in enumerate(zip(cache.stores, handle.places, strict=True)):
            own = {name.split(".", 1)[1]: tensor for name, tensor in tensors.items() if name.startswith(f"{index}.")}
            store.restore(place, own, length)
    except ValueError:
        cache.free(handle)
        raise
    return handle, tensors["ids"].tolist()
