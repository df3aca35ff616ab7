"""How much an engine holds: what was asked for, or what the machine has room for.

Every sequence has room for a whole context, whatever the others do: requests wait for a place, and once they have one
the memory cannot run out under them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gemwright.arch.spec import Attention, Model
from gemwright.cache.allocate import Cache, allocate
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.planner.measure import available

_SHARE = 0.5  # of the free memory that a cache may take unasked
_REUSED = 0.1  # of the free memory that windows and states kept for reuse may take unasked
_BEGINNINGS = 8  # of prompts that are kept unasked
_FEWEST = 2  # of them: where a conversation's last answer ended, and where its question did
_SEQUENCES = 4  # that run or rest at once unasked
_LEAST = 2048  # tokens; a machine without room for this has other worries

More = Callable[[int | None, int], int]
"""Tokens of a sequence, sequences → bytes that are asked for beside the cache."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """The cache of an engine: `sequences` of `context` tokens each, and windows and states of `reuse` more."""

    cache: Cache
    context: int | None
    sequences: int
    reuse: int


def make_room(
    model: Decoder,
    *,
    context: int | None,
    sequences: int | None,
    reuse: int | None,
    int8: bool = False,
    more: More | None = None,
) -> Room:
    """Allocates a cache in the model's dtype and on its device; None is the default of each. `more`: what another cache
    for the same requests will take.

    Raises `UserError` for a context that the model was not made for, a number that means nothing, and where the memory
    does not hold it.
    """
    spec = model.spec
    place: dict[str, Any] = {"dtype": model.dtype, "device": model.device}
    if sequences is None:
        sequences = default_sequences(spec, context, int8=int8, more=more, **place)
    if reuse is None:
        reuse = default_reuse(spec, **place)
    if sequences < 1 or reuse < 0:
        raise UserError(
            f"an engine cannot run {sequences} sequences and keep {reuse} beginnings",
            hint="give at least one sequence, and 0 beginnings or more",
        )
    size = {"sequences": sequences, "spare": reuse, "int8": int8, **place}
    context = choose_context(spec, context, more=more, **size)
    tokens = capacity(spec, context)
    try:
        cache = allocate(spec, tokens=tokens, weights=model.digest(), **size)
    except RuntimeError as error:
        raise UserError(
            f"the memory does not hold a cache for {sequences} sequences of {tokens} tokens",
            hint="give fewer sequences or a smaller context; gemwright plan shows what fits",
        ) from error
    return Room(cache=cache, context=context, sequences=sequences, reuse=reuse)


def capacity(spec: Model, context: int | None) -> int:
    """The `tokens` that a cache must be asked for. A model without a limit keeps windows and states only, and
    sequences of any length fit once its windows do."""
    if context is not None:
        return context
    if "global" in spec.kinds:
        raise ValueError("a model with global layers and no limit of its own needs a context")
    windows = [layer.mixer.window for layer in spec.layers if isinstance(layer.mixer, Attention)]
    return max((window for window in windows if window is not None), default=1)


def choose_context(
    spec: Model,
    context: int | None,
    *,
    sequences: int,
    dtype: torch.dtype,
    device: torch.device,
    int8: bool = False,
    spare: int = 0,
    more: More | None = None,
) -> int | None:
    """The context asked for, or `default_context`. Raises `UserError` for one that the model was not made for."""
    if context is None:
        size: dict[str, Any] = {"sequences": sequences, "dtype": dtype, "device": device, "int8": int8, "spare": spare}
        return default_context(spec, **size, more=more)
    if context < 2:
        raise UserError(f"a context of {context} tokens holds no prompt and answer", hint="give at least 2")
    if spec.context is not None and context > spec.context:
        raise UserError(
            f"{spec.name} was made for {spec.context} tokens, not for {context}",
            hint=f"give a context of at most {spec.context}",
        )
    return context


def default_context(
    spec: Model,
    *,
    sequences: int,
    dtype: torch.dtype,
    device: torch.device,
    int8: bool = False,
    spare: int = 0,
    more: More | None = None,
    free: int | None = None,
) -> int | None:
    """The model's own context, or the largest half, quarter, ... of it whose cache, and what `more` says of another
    one, takes at most half of the free memory; a warning says so. `free`: bytes (default: what the device or the system
    reports now)."""
    whole = spec.context
    size = {"sequences": sequences, "dtype": dtype, "device": "meta", "int8": int8, "spare": spare}
    free = free_bytes(device) if free is None else free
    if whole is None or free is None:
        return whole
    context, needed = whole, 0
    while True:
        taken = sum(allocate(spec, tokens=context, **size).bytes().values())
        taken += more(context, sequences) if more is not None else 0
        needed = needed or taken
        if taken <= _SHARE * free or context // 2 < _LEAST:
            break
        context //= 2
    if context < whole:
        warnings.warn(
            f"a context of {context} tokens instead of {whole}, whose cache of {needed / 1e9:.1f} GB is too much for "
            f"{free / 1e9:.1f} GB of free memory; give a context to choose another",
            stacklevel=5,
        )
    return context


def default_sequences(
    spec: Model,
    context: int | None,
    *,
    dtype: torch.dtype,
    device: torch.device,
    int8: bool,
    more: More | None = None,
    free: int | None = None,
) -> int:
    """How many sequences to hold at once: 4, or as many as have the context that was asked for in half of the free
    memory; without one, contexts are as long as these leave room for. `more`, `free`: as in `default_context`."""
    free = free_bytes(device) if free is None else free
    if context is None or free is None:
        return _SEQUENCES
    cache = allocate(spec, sequences=1, tokens=max(1, context), dtype=dtype, device="meta", int8=int8)
    one = sum(cache.bytes().values()) + (more(max(1, context), 1) if more is not None else 0)
    return max(1, min(_SEQUENCES, int(_SHARE * free) // max(1, one)))


def default_reuse(spec: Model, *, dtype: torch.dtype, device: torch.device, free: int | None = None) -> int:
    """How many beginnings of prompts to keep: 8, or as many as have their windows and states in a tenth of the free
    memory, but 2 at least: a conversation's next turn goes on from them. `free`: as in `default_context`."""
    free = free_bytes(device) if free is None else free
    tokens = capacity(spec, spec.context)
    one, two = (
        sum(allocate(spec, sequences=1, tokens=tokens, dtype=dtype, device="meta", spare=spare).bytes().values())
        for spare in (0, 1)
    )
    if free is None or one == two:
        return _BEGINNINGS
    return min(_BEGINNINGS, max(_FEWEST, int(_REUSED * free) // (two - one)))


def free_bytes(device: torch.device) -> int | None:
    """Memory that is free for a program on this device, in bytes; None where nobody tells."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available()
