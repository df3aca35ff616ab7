"""Local layers: the window and a declared slack, never more.

Position p lives in row `p % R` of its slot, R = window + slack. After M tokens a row j holds the last position before
M that is congruent to j; older ones are gone. A step of at most slack + 1 tokens overwrites only what none of its
queries can see, so it writes first and reads the ring in place. A longer one attends over the window before it and its
own keys, and writes after.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gemwright.cache.route import Route, Run, route, usable
from gemwright.cache.store import Kind, Slots
from gemwright.ops.attend import attend_rows, attend_tail
from gemwright.ops.span import Plan


class RingStore(Slots):
    """Keys and values `[L, slots, R, G, K]` of L layers."""

    kind: Kind = "local"

    def __init__(
        self,
        *,
        layers: tuple[int, ...],
        kv_heads: int,
        head_dim: int,
        window: int,
        slack: int,
        slots: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        self.layers, self.window, self.slack = layers, window, slack
        shape = (len(layers), slots, window + slack, kv_heads, head_dim)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)
        self.dtype = dtype
        self.rows = list(zip(self.keys, self.values, strict=True))  # of each layer
        super().__init__({"keys": self.keys, "values": self.values}, slots)

    def prepare(self, places: list[list[int]], plan: Plan) -> RingStep:
        """Own the slots, and find out for each sequence which way it goes."""
        slots = [self.own(place) for place in places]
        lengths, past = plan.lengths, plan.past
        if usable(self.keys):
            return RingStep(store=self, lengths=lengths, parts=[], route=self._route(slots, plan))
        pictured = {image.document for image in plan.images}
        if lengths[0] <= self.slack + 1 and len(set(lengths)) == 1 and not pictured:
            return RingStep(store=self, lengths=(plan.tokens,), parts=[self._short(slots, past, lengths[0])])
        parts = [
            self._short([slot], (before,), length)
            if length <= self.slack + 1 and document not in pictured
            else self._long(slot, before, length, plan.ahead(document))
            for document, (slot, before, length) in enumerate(zip(slots, past, lengths, strict=True))
        ]
        return RingStep(store=self, lengths=lengths, parts=parts)

    def _route(self, slots: list[int], plan: Plan) -> Route:
        """The window before each sequence's new tokens lies in the ring, in at most two pieces, and the new ones where
        they are: they are stored after, so that they overwrite nothing that is still seen."""
        rows = self.keys.shape[2]
        runs: list[list[Run]] = []
        targets: list[int] = []
        for slot, first, past, length in zip(slots, plan.starts, plan.past, plan.lengths, strict=False):
            start, own = max(0, past - self.window + 1), []
            while start < past:
                count = min(past - start, rows - start % rows)
                own.append((start, count, slot * rows + start % rows, 0))
                start += count
            runs.append([*own, (past, length, first, 1)])
            targets += [-1] * max(0, length - rows)
            targets += [slot * rows + place % rows for place in range(past + max(0, length - rows), past + length)]
        shape, ahead = (plan.starts, plan.lengths, plan.past), plan.all_ahead()
        return route(*shape, runs, targets, write_first=False, window=self.window, ahead=ahead)

    def _short(self, slots: list[int], past: tuple[int, ...], length: int) -> _Short:
        rows = self.keys.shape[2]
        before = torch.tensor(past)
        query = before[:, None] + torch.arange(length)
        total = query[:, -1:, None] + 1
        used = min(rows, max(past) + length)
        position = total - 1 - (total - 1 - torch.arange(used)) % rows
        distance = query[:, :, None] - position
        seen = (position >= 0) & (distance >= 0) & (distance < self.window)
        bias = torch.zeros(seen.shape, dtype=self.keys.dtype).masked_fill(~seen, -math.inf)
        device = self.keys.device
        together = slots == list(range(slots[0], slots[0] + len(slots)))
        return _Short(
            length=length,
            slots=torch.tensor(slots, device=device)[:, None],
            targets=(query % rows).to(device),
            read=slice(slots[0], slots[0] + len(slots)) if together else torch.tensor(slots, device=device),
            used=used,
            bias=None if bool(seen.all()) else bias.to(device),
        )

    def _long(self, slot: int, past: int, length: int, ahead: Tensor | None) -> _Long:
        rows, device = self.keys.shape[2], self.keys.device
        before = torch.arange(max(0, past - self.window + 1), past, device=device) % rows
        kept = min(length, rows)
        after = torch.arange(past + length - kept, past + length, device=device) % rows
        return _Long(window=self.window, slot=slot, before=before, after=after, ahead=ahead)


@dataclass(kw_only=True)
class _Short:
    """Sequences with equally many new tokens, few enough to be written before they are read.

    slots `[B, 1]` and targets `[B, C]`: where the tokens go. read, used: the rings, and how many rows of them hold
    anything. bias `[B, C, used]`: 0 where seen, else -inf; None when all is seen.
    """

    length: int
    slots: Tensor
    targets: Tensor
    read: slice | Tensor
    used: int
    bias: Tensor | None

    def attend(
        self, keys: Tensor, values: Tensor, query: Tensor, key: Tensor, value: Tensor, scale: float, cap: float | None
    ) -> Tensor:
        """Write, then read the rings as they are."""
        shape = (-1, self.length)
        keys[self.slots, self.targets] = key.unflatten(0, shape)
        values[self.slots, self.targets] = value.unflatten(0, shape)
        ring, held = keys[self.read, : self.used], values[self.read, : self.used]
        return attend_rows(query.unflatten(0, shape), ring, held, self.bias, scale=scale, cap=cap).flatten(0, 1)


@dataclass(kw_only=True)
class _Long:
    """One sequence with more new tokens than the slack, or a picture among them. before, after: rows of the ring to
    read first, write last. ahead: see `Plan.ahead`."""

    window: int
    slot: int
    before: Tensor
    after: Tensor
    ahead: Tensor | None

    def attend(
        self, keys: Tensor, values: Tensor, query: Tensor, key: Tensor, value: Tensor, scale: float, cap: float | None
    ) -> Tensor:
        """Attend over the window behind and the own keys, then write the last of them."""
        ring, held = keys[self.slot], values[self.slot]
        behind, known = (key, value)
        if len(self.before):
            behind, known = torch.cat([ring[self.before], key]), torch.cat([held[self.before], value])
        out = attend_tail(query, behind, known, self.ahead, window=self.window, scale=scale, cap=cap)
        kept = len(self.after)
        ring[self.after], held[self.after] = key[-kept:], value[-kept:]
        return out


@dataclass(kw_only=True)
class RingStep:
    """One step's parts, one after the other in the flat rows, of the given lengths."""

    store: RingStore
    lengths: tuple[int, ...]
    parts: list[_Short | _Long]
    route: Route | None = None

    def attend(self, row: int, query: Tensor, key: Tensor, value: Tensor, scale: float, cap: float | None) -> Tensor:
        """Remember the `row`-th layer's new keys and values; attend. `[N, H, K]`, `[N, G, K]` → `[N, H, K]`."""
        keys, values = self.store.rows[row]
        if self.route is not None:
            return self.route.attend((keys, values), query, key, value, scale, cap)
        if len(self.parts) == 1:
            return self.parts[0].attend(keys, values, query, key, value, scale, cap)
        rows = (tensor.split(self.lengths) for tensor in (query, key, value))
        each = zip(self.parts, *rows, strict=True)
        return torch.cat([part.attend(keys, values, q, k, v, scale, cap) for part, q, k, v in each])
