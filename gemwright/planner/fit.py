"""What a model needs to run, and the longest context that fits in a given memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gemwright.arch.spec import Model
from gemwright.errors import UserError
from gemwright.loading import choose_dtype, open_checkpoint, packing, sight
from gemwright.nn.decoder import Decoder
from gemwright.ops.matmul import Form
from gemwright.planner import count, guesses
from gemwright.quant.scheme import Scheme, scheme
from gemwright.weights import hub

# Measured with `measure.PeakMemory` on two x86 cores, torch 2.13: what a process holds beside tensors.
RUNTIME = 12 << 20  # this package's modules and the libraries that they import
SCRATCH = 12 << 20  # buffers inside kernels and threads, holes in the heap; the same from 270M to 1B, 2K to 16K tokens
PIECE = 1500  # a tokenizer.json's tables in memory, per piece, at Gemma 3's two merges a piece

ENDLESS = 8192  # the context that is planned for a model without a limit, when none is asked for
_GRAIN = 64  # tokens; the longest context is a multiple of it


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Bytes that a process needs above a bare `import torch`, by what they are for.

    `quant`: the scheme that rounds the weights (None: they stay as the files have them). `weights`: by part, as they
    are packed; `copies`: what packed blocks keep beside them. `adapters`: those with names, beside the weights.
    `reading`: what is there only while an adapter, or the draft's tokenizer, is read. `ahead`: rows that a step runs on
    guesses at most. `draft_weights` (copies included), `draft_cache`, `draft_working`: of the model that guesses; the
    last is the most that a step of it needs. `vision`: the picture tower, which is loaded with the first picture, and
    `encoding`: what it works in, pictures half done included; neither is in the total. `int8_cache`: the global layers
    remember signed bytes. `reuse`: beginnings of prompts whose windows and states the cache has room for, beside the
    sequences. `cache`: by kind of layer (global, local, recurrent). `activations`, `logits`, `draft_working` and
    `reading` take turns: the largest one counts. `tokenizer`: its tables. `runtime`, `scratch`: measured once, see
    `fit.RUNTIME`. `all_full`: the cache if every attention layer were global. `memory`: bytes that may be used (None:
    not said). `longest`: the longest context that fits in them (None: not asked, or any, as `unbounded` says; 0: none
    does).
    """

    name: str
    dtype: str
    quant: str | None
    context: int
    batch: int
    reuse: int
    chunk: int
    weights: dict[str, int]
    copies: int
    adapters: int
    reading: int
    ahead: int
    draft_weights: int
    draft_cache: int
    draft_working: int
    vision: int
    encoding: int
    int8_cache: bool
    cache: dict[str, int]
    activations: int
    logits: int
    tokenizer: int
    runtime: int
    scratch: int
    all_full: int
    memory: int | None
    longest: int | None
    unbounded: bool

    @property
    def weight_bytes(self) -> int:
        """Bytes of the loaded weights."""
        return sum(self.weights.values())

    @property
    def cache_bytes(self) -> int:
        """Bytes of the cache, all sequences."""
        return sum(self.cache.values())

    @property
    def total(self) -> int:
        """The peak."""
        working = max(self.activations, self.logits, self.draft_working, self.reading)
        held = self.weight_bytes + self.copies + self.adapters + self.cache_bytes
        held += self.draft_weights + self.draft_cache
        return held + working + self.tokenizer + self.runtime + self.scratch

    @property
    def fits(self) -> bool | None:
        """Whether the total stays within `memory`; None where that was not said."""
        return None if self.memory is None else self.total <= self.memory

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        named = {name: getattr(self, name) for name in self.__dataclass_fields__}
        sums = {"weight_bytes": self.weight_bytes, "cache_bytes": self.cache_bytes}
        return named | sums | {"total": self.total, "fits": self.fits}


def plan(
    model: str | Path | Model | None = None,
    *,
    context: int | None = None,
    batch: int = 1,
    reuse: int = 0,
    chunk: int = 512,
    dtype: str | torch.dtype = "auto",
    memory: int | None = None,
    quant: str | Scheme | None = None,
    int8_cache: bool = False,
    adapters: Mapping[str, str | Path] | None = None,
    speculate: str = "auto",
    draft: str | Path | Model | None = None,
) -> Plan:
    """Counts what running a model takes as `gemwright.load` loads it, without loading or allocating it.

    `model`: a folder or .ckpt file, a hub name, a published name (no file of it is needed), a spec, or None for the
    model that ships with the package. `context`: tokens of each of `batch` sequences (default: what the model was made
    for). `reuse`: beginnings of prompts that are kept (see `Engine`). `chunk`: prompt tokens in a step. `dtype`: "auto"
    is the dtype in which files that are here are loaded, else bfloat16. `memory`: bytes that may be used; the plan then
    tells the longest context that fits. `quant`: a scheme that rounds the weights; without it they are held as the
    files have them. `int8_cache`: see `Engine`. `adapters`, `speculate`, `draft`: see `load`; a draft is named as
    `model`.

    Raises `UserError` for an unknown model, dtype, scheme or speculation, for adapters that do not fit and for numbers
    that cannot be planned.
    """
    guesses.check(speculate)
    wanted = None if quant is None else scheme(quant)
    found = _ready(model, dtype, wanted)
    other = None if draft is None else _ready(draft, dtype, None)
    spec = found.spec
    if context is None:
        context = spec.context or ENDLESS
    for name, value, least in (("context", context, 2), ("batch", batch, 1), ("reuse", reuse, 0), ("chunk", chunk, 1)):
        if value < least:
            raise UserError(f"{name} is {value}, it must be at least {least}", hint=f"give a larger {name}")
    if spec.context is not None and context > spec.context:
        raise UserError(
            f"{spec.name} was made for {spec.context} tokens, not for {context}",
            hint=f"give a context ≤ {spec.context}",
        )
    if memory is not None and memory < 1:
        raise UserError(f"a memory of {memory} bytes holds nothing", hint="give a size such as 8G")

    ahead = _ahead(found, batch, speculate, other is not None)
    beside, reading = count.adapter_bytes(spec, adapters or {})
    reading = max(reading, other.pieces * PIECE if other is not None else 0)

    def at(tokens: int, longest: int | None = None, unbounded: bool = False) -> Plan:
        counted = _count(found, tokens, batch, reuse, chunk, int8_cache, ahead)
        if other is not None:
            counted = replace(counted, **_draft(other, tokens, batch, chunk))
        name = None if wanted is None else wanted.name
        facts = {"quant": name, "adapters": beside, "reading": reading, "memory": memory}
        return replace(counted, **facts, longest=longest, unbounded=unbounded)

    if memory is None:
        return at(context)
    longest, unbounded = _longest(spec, lambda tokens: at(tokens).total <= memory)
    return at(context, longest, unbounded)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A model's spec, the dtype and the forms of its files (bfloat16 and none where there are no files), or those that
    it is loaded in; the dtype in which they keep norms beside packed weights (None: that of the rest), and the pieces
    of its tokenizer."""

    spec: Model
    stored: torch.dtype = torch.bfloat16
    forms: count.Forms = ()
    norms: torch.dtype | None = None
    pieces: int = 0


def _ready(model: str | Path | Model | None, dtype: str | torch.dtype, wanted: Scheme | None) -> _Found:
    """A model in the dtype and the forms that it is loaded in."""
    found = _find(model)
    chosen = choose_dtype(dtype, found.stored, torch.device("cpu"), [], wanted)
    return replace(found, stored=chosen, forms=_packed(found, chosen, wanted))


def _ahead(found: _Found, batch: int, speculate: str, draft: bool) -> int:
    """Rows that a step runs on guesses at most."""
    asked = draft or speculate == "lookup"
    if asked or (speculate == "auto" and count.guesses_unasked(found.spec, found.stored, found.forms)):
        return guesses.most(batch)
    return 0


def _draft(found: _Found, context: int, batch: int, chunk: int) -> dict[str, int]:
    """What a model that guesses takes. It has no more tokens of a sequence than it was made for."""
    most = min(context, found.spec.context or context)
    shape: dict[str, Any] = {"context": most, "batch": batch, "dtype": found.stored}
    held = count.weights(found.spec, found.stored, found.forms, found.norms)
    step = count.working(found.spec, chunk=chunk, **shape, forms=found.forms)
    return {
        "draft_weights": sum(held.parts.values()) + held.copies,
        "draft_cache": sum(count.cache_bytes(found.spec, **shape).values()),
        "draft_working": max(step.activations, step.logits),
    }


def _packed(found: _Found, dtype: torch.dtype, wanted: Scheme | None) -> count.Forms:
    """The forms that the weights are loaded in."""
    stored: dict[str, Form] = dict(found.forms)
    with torch.device("meta"):
        model = Decoder(found.spec)
    matrices = packing(model, stored, dtype, torch.device("cpu"), wanted, "meta")
    return tuple((name, matrix.form) for name, matrix in matrices.items())


def _count(found: _Found, context: int, batch: int, reuse: int, chunk: int, int8: bool, ahead: int) -> Plan:
    """A plan in which nothing is said of quantisation, adapters, a draft and memory."""
    spec, dtype = found.spec, found.stored
    shape: dict[str, Any] = {"context": context, "batch": batch, "dtype": dtype, "int8": int8}
    working = count.working(spec, chunk=chunk, **shape, forms=found.forms, ahead=ahead)
    weights = count.weights(spec, dtype, found.forms, found.norms)
    full = count.cache_bytes(count.all_full(spec), **shape, spare=reuse)
    return Plan(
        name=spec.name,
        dtype=str(dtype).removeprefix("torch."),
        quant=None,
        context=context,
        batch=batch,
        reuse=reuse,
        chunk=chunk,
        weights=dict(weights.parts),
        copies=weights.copies,
        adapters=0,
        reading=0,
        ahead=ahead,
        draft_weights=0,
        draft_cache=0,
        draft_working=0,
        vision=count.vision_parameters(spec.vision, spec.width) * dtype.itemsize if spec.vision else 0,
        encoding=count.encoding(spec.vision, spec.width, dtype) if spec.vision else 0,
        int8_cache=int8,
        cache=count.cache_bytes(spec, **shape, spare=reuse),
        activations=working.activations,
        logits=working.logits,
        tokenizer=found.pieces * PIECE,
        runtime=RUNTIME,
        scratch=SCRATCH,
        all_full=sum(full.values()),
        memory=None,
        longest=None,
        unbounded=False,
    )


def _longest(spec: Model, fits: Callable[[int], bool]) -> tuple[int | None, bool]:
    """The longest context that fits, by bisection, and whether any does. Memory grows with the context, or stands
    still where every layer forgets."""
    if spec.context is None and "global" not in spec.kinds:
        widest = max((getattr(layer.mixer, "window", 0) for layer in spec.layers), default=0)
        return (None, True) if fits(2 * widest + ENDLESS) else (0, False)
    limit = spec.context or 1 << 24
    if fits(limit):
        return limit, False
    low, high = 0, -(-limit // _GRAIN)  # in grains: low fits or is nothing, high does not fit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * _GRAIN) else (low, middle)
    return low * _GRAIN, False


def _find(model: str | Path | Model | None) -> _Found:
    if isinstance(model, Model):
        return _Found(spec=model)
    place = hub.locate(model)
    if isinstance(place, Model):
        return _Found(spec=place, pieces=place.vocab)
    opened = open_checkpoint(place)
    pieces = opened.spec.vocab if opened.has_tokenizer else 0
    norms = torch.float32 if opened.exact else None
    forms = tuple(opened.forms.items())
    spec = replace(opened.spec, vision=sight(opened))
    return _Found(spec=spec, stored=opened.stored, forms=forms, norms=norms, pieces=pieces)
