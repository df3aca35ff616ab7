"""Spec → stores, and the cache that sequences live in."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gemwright.arch.spec import Attention, Model, Recurrent
from gemwright.cache.full import FullStore
from gemwright.cache.recurrent import RecurrentStore
from gemwright.cache.ring import RingStore
from gemwright.cache.store import Handle, Store
from gemwright.ops.span import Image, Span, span

SLACK = 8  # tokens that can be taken back, unasked


def allocate(
    spec: Model,
    *,
    sequences: int,
    tokens: int,
    slack: int = SLACK,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
    weights: str = "",
    int8: bool = False,
    spare: int = 0,
) -> Cache:
    """Memory for `sequences` sequences of up to `tokens` tokens each; `slack` tokens can be taken back.

    `spare` more sequences have windows and states, and share the global layers' blocks with the others: for snapshots,
    which give way when blocks run short.

    Nothing is touched before it is used. On the meta device nothing is ever allocated, and `bytes` counts the same.
    `weights` names the weights (a digest): saved sequences are tied to it. `int8`: the global layers' keys and values
    as signed bytes.
    """
    if sequences < 1 or tokens < 1 or slack < 0 or spare < 0:
        raise ValueError(f"no cache has {sequences} sequences of {tokens} tokens with a slack of {slack}")
    kinds: dict[tuple[Any, ...], list[int]] = {}
    for index, layer in enumerate(spec.layers):
        mixer = layer.mixer
        if isinstance(mixer, Recurrent):
            key = (mixer.width, mixer.conv)
        else:
            # A window that is never filled is kept no longer than the sequence.
            window = None if mixer.window is None else min(mixer.window, tokens)
            key = (mixer.kv_heads, mixer.head_dim, window, mixer.window)
        kinds.setdefault((type(mixer), *key), []).append(index)
    stores: list[Store] = []
    for kind, layers in kinds.items():
        place: dict[str, Any] = {"layers": tuple(layers), "dtype": dtype, "device": device}
        if kind[0] is Recurrent:
            stores.append(
                RecurrentStore(width=kind[1], taps=kind[2] - 1, slack=slack, slots=sequences + spare, **place)
            )
        elif kind[3] is None:
            size = {"kv_heads": kind[1], "head_dim": kind[2]}
            stores.append(FullStore(sequences=sequences, tokens=tokens, int8=int8, **size, **place))
        else:
            size = {"kv_heads": kind[1], "head_dim": kind[2], "window": kind[3]}
            stores.append(RingStore(slack=slack, slots=sequences + spare, **size, **place))
    # A window cut to a short cache makes another ring, so a cache of another length may be another memory.
    rings = sorted(kind[3] for kind in kinds if kind[0] is Attention and kind[3] is not None)
    facts = f"{spec.fingerprint()} {weights} {dtype} slack {slack} rings {rings}{' int8' if int8 else ''}"
    identity = hashlib.sha256(facts.encode()).hexdigest()[:32]
    bounded = any(kind[0] is Attention and (kind[3] is None or tokens < kind[4]) for kind in kinds)
    limit = tokens if bounded else None
    return Cache(stores=stores, slack=slack, limit=limit, identity=identity, device=device)


class Cache:
    """All stores of one model. `identity` ties saved sequences to spec, weights, dtype and slack; `limit` is the
    longest sequence that fits (None: any, the memory of each has a fixed size)."""

    def __init__(
        self, *, stores: list[Store], slack: int, limit: int | None, identity: str, device: torch.device | str
    ) -> None:
        self.stores, self.slack, self.limit, self.identity = stores, slack, limit, identity
        self._device = device
        self._where = {layer: (store, row) for store in stores for row, layer in enumerate(store.layers)}
        self._forgets = any(store.kind != "global" for store in stores)

    def open(self) -> Handle:
        """A new, empty sequence. Raises `CacheFull`."""
        return self._make(lambda store, _: store.open())

    def fork(self, handle: Handle) -> Handle:
        """A twin that shares all memory until one of the two writes, and then copies what it writes."""
        self._check(handle)
        twin = self._make(lambda store, index: store.fork(handle.places[index]))
        twin.length, twin.high = handle.length, handle.high
        return twin

    def snapshot(self, handle: Handle) -> Handle:
        """The sequence as it stands now, never to be written; `restore` gives sequences that go on from it."""
        twin = self.fork(handle)
        twin.frozen = True
        return twin

    def restore(self, snapshot: Handle) -> Handle:
        """A sequence that goes on from a snapshot, which stays."""
        return self.fork(snapshot)

    def detach(self, handle: Handle) -> None:
        """Copy now what a twin would have to copy when it goes on, so that the twin need not. Raises `CacheFull`."""
        self._check(handle)
        for store, place in zip(self.stores, handle.places, strict=True):
            store.detach(place, handle.length)

    def _make(self, place: Any) -> Handle:
        """A handle with a place in every store, or in none."""
        places: list[Any] = []
        try:
            for index, store in enumerate(self.stores):
                places.append(place(store, index))
        except ValueError:
            for store, taken in zip(self.stores, places, strict=False):
                store.free(taken)
            raise
        return Handle(places=places)

    def free(self, handle: Handle) -> None:
        """Give up a sequence's memory; the handle is of no use afterwards."""
        if handle.freed:
            return
        handle.freed = True
        for store, place in zip(self.stores, handle.places, strict=True):
            store.free(place)

    def rollback(self, handle: Handle, count: int) -> None:
        """Forget the last `count` tokens, exactly.

        Windows and states keep no more than `slack` tokens to go back by (any number where the model has neither, and
        all of them always): beyond that `ValueError`, and the caller restores a snapshot and replays. Tokens that were
        prepared and never committed count as taken back.
        """
        self._check(handle)
        if handle.frozen:
            raise ValueError("a snapshot cannot be rolled back: restore it first")
        length = handle.length - count
        if count < 0 or length < 0:
            raise ValueError(f"cannot take back {count} of {handle.length} tokens")
        if not self.can_roll_back(handle, count):
            raise ValueError(f"cannot take back {count} tokens, the slack is {self.slack}; replay from a snapshot")
        handle.length = length
        if length == 0:
            handle.high = 0
        for store, place in zip(self.stores, handle.places, strict=True):
            store.truncate(place, length)

    def can_roll_back(self, handle: Handle, count: int) -> bool:
        """Would `rollback` go back that far, of this sequence or of one that is restored from it?"""
        length = handle.length - count
        near = count <= self.slack and handle.high - length <= self.slack + 1
        return length >= 0 and (not self._forgets or length == 0 or near)

    @property
    def forgets(self) -> bool:
        """Are there windows or states, which can be gone back on only by the slack?"""
        return self._forgets

    def intact(self, handle: Handle) -> bool:
        """Can the sequence go on? Not after a long step that was never committed, which overwrote its windows."""
        return not self._forgets or handle.length == 0 or handle.high - handle.length <= self.slack + 1

    def prepare(self, handles: Sequence[Handle], lengths: Sequence[int], images: Sequence[Image] = ()) -> Step:
        """Make room for `lengths[d]` new tokens of `handles[d]`, whole `images` among them, and index them, once for
        all layers of a kind.

        Raises `CacheFull` when the memory runs out, `ValueError` for a handle that cannot be written.
        """
        if len({id(handle) for handle in handles}) != len(handles):
            raise ValueError("a sequence stands twice in one step")
        for handle in handles:
            self._check(handle)
            if handle.frozen:
                raise ValueError("a snapshot cannot be written: restore it first")
            if not self.intact(handle):
                raise ValueError("a long step of this sequence was never committed: free it, or restore a snapshot")
        step_span = span(lengths, past=[handle.length for handle in handles], images=images, device=self._device)
        for handle, length in zip(handles, lengths, strict=True):
            if self.limit is not None and handle.length + length > self.limit:
                raise ValueError(f"{handle.length} + {length} tokens do not fit: the cache holds {self.limit} each")
        try:
            steps = {
                id(store): store.prepare([handle.places[index] for handle in handles], step_span.plan)
                for index, store in enumerate(self.stores)
            }
        except ValueError:  # no room: give back what was taken for this step
            for handle in handles:
                for store, place in zip(self.stores, handle.places, strict=True):
                    store.truncate(place, handle.length)
            raise
        for handle, length in zip(handles, lengths, strict=True):
            handle.high = max(handle.high if handle.length else 0, handle.length + length)
        where = {layer: (steps[id(store)], row) for layer, (store, row) in self._where.items()}
        return Step(span=step_span, handles=tuple(handles), where=where)

    def bytes(self) -> dict[str, int]:
        """Bytes allocated for each kind of layer."""
        return self._count(lambda store, _: store.bytes())

    def bytes_used(self, handle: Handle) -> dict[str, int]:
        """Bytes that one sequence keeps from others, for each kind of layer."""
        return self._count(lambda store, index: store.bytes_used(handle.places[index]))

    def bytes_together(
        self, handles: Sequence[Handle], beside: Sequence[Handle] = ()
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Bytes of these sequences, what they share counted once, and of these the bytes that are shared, also with
        the sequences `beside` them; for each kind of layer."""
        taken, shared = ({"global": 0, "local": 0, "recurrent": 0} for _ in range(2))
        for index, store in enumerate(self.stores):
            owners = Counter(unit for handle in handles for unit in store.units(handle.places[index]))
            others = {unit for handle in beside for unit in store.units(handle.places[index])}
            every = sum(store.bytes_used(handle.places[index]) for handle in handles)
            size = every // max(1, owners.total())
            taken[store.kind] += size * len(owners)
            shared[store.kind] += size * sum(count > 1 or unit in others for unit, count in owners.items())
        return taken, shared

    def _count(self, count: Any) -> dict[str, int]:
        out = {"global": 0, "local": 0, "recurrent": 0}
        for index, store in enumerate(self.stores):
            out[store.kind] += count(store, index)
        return out

    @staticmethod
    def _check(handle: Handle) -> None:
        if handle.freed:
            raise ValueError("this sequence was freed")


@dataclass(kw_only=True)
class Step:
    """One step: its tokens, and for each layer where it reads and writes. Nothing counts before `commit`."""

    span: Span
    handles: tuple[Handle, ...]
    where: dict[int, tuple[Any, int]]
    committed: bool = False

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "N H K"],
        key: Float[Tensor, "N G K"],
        value: Float[Tensor, "N G K"],
        mixer: Attention,
    ) -> Float[Tensor, "N H K"]:
        """Remember new keys and values, attend over all that the layer sees. `[N, H, K]`, `[N, G, K]` → `[N, H, K]`."""
        step, row = self.where[layer]
        held = step.store.dtype  # activations may be wider than what is remembered of them
        if query.dtype != held:
            query, key, value = query.to(held), key.to(held), value.to(held)
        return step.attend(row, query, key, value, mixer.scale, mixer.cap)

    def read(self, layer: int) -> tuple[Float[Tensor, "D R"], Float[Tensor, "D T R"], Int64[Tensor, " D"]]:
        """A recurrent layer's states `[D, R]`, last convolution inputs `[D, T - 1, R]`, and first rows int64 `[D]`."""
        step, row = self.where[layer]
        return *step.read(row), step.bounds[:-1]

    def bounds(self, layer: int) -> tuple[Int64[Tensor, " E"], Int64[Tensor, " D"]]:
        """A recurrent layer's first rows and their end, int64 `[D + 1]`, and int64 `[D]`: 1 where a sequence begins."""
        step, _ = self.where[layer]
        return step.bounds, step.fresh

    def write(self, layer: int, states: Float[Tensor, "N R"], inputs: Float[Tensor, "N R"]) -> None:
        """Remember a recurrent layer's new states and convolution inputs, `[N, R]` each."""
        step, row = self.where[layer]
        step.write(row, states, inputs)

    def commit(self) -> None:
        """The step is done: its tokens are remembered. Once: a second time is a `ValueError`."""
        if self.committed:
            raise ValueError("this step was committed before")
        self.committed = True
        for handle, length in zip(self.handles, self.span.plan.lengths, strict=True):
            handle.length += length
