"""Global layers: every key and value, in blocks of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gemwright.cache.int8 import dequantise, quantise
from gemwright.cache.route import Route, route, usable
from gemwright.cache.store import Kind, Shares
from gemwright.ops.attend import attend_tail
from gemwright.ops.span import Plan

BLOCK = 64  # tokens


@dataclass(kw_only=True)
class Blocks:
    """A sequence's place: its blocks in order, and the region of the store that it fills first, so that its tokens
    usually lie in one piece and are read without a copy."""

    home: int
    blocks: list[int]


class FullStore:
    """Keys and values `[L, blocks * BLOCK, G, K]` of L layers; as `int8`, signed bytes with scales beside them (see
    `cache.int8`)."""

    kind: Kind = "global"

    def __init__(
        self,
        *,
        layers: tuple[int, ...],
        kv_heads: int,
        head_dim: int,
        sequences: int,
        tokens: int,
        dtype: torch.dtype,
        device: torch.device | str,
        int8: bool = False,
    ) -> None:
        self.layers, self.dtype, self.int8 = layers, dtype, int8
        self._region = -(-tokens // BLOCK)
        shape = (len(layers), sequences * self._region * BLOCK, kv_heads, head_dim)
        held = torch.int8 if int8 else dtype
        self.keys = torch.empty(shape, dtype=held, device=device)
        self.values = torch.empty(shape, dtype=held, device=device)
        self.tensors = {"keys": self.keys, "values": self.values}
        if int8:
            self.tensors["key_scales"] = torch.empty(shape[:3], dtype=torch.float32, device=device)
            self.tensors["value_scales"] = torch.empty(shape[:3], dtype=torch.float32, device=device)
        self.rows = list(zip(*self.tensors.values(), strict=True))  # of each layer
        self._shares = Shares(sequences * self._region)
        self._tenants = [0] * sequences

    def open(self) -> Blocks:
        """No blocks yet; the least crowded region as home."""
        return self._settle([])

    def fork(self, place: Blocks) -> Blocks:
        """The same blocks."""
        for block in place.blocks:
            self._shares.share(block)
        return self._settle(list(place.blocks))

    def _settle(self, blocks: list[int]) -> Blocks:
        home = min(range(len(self._tenants)), key=self._tenants.__getitem__)
        self._tenants[home] += 1
        return Blocks(home=home, blocks=blocks)

    def detach(self, place: Blocks, length: int) -> None:
        """Own the last block, if it is not full."""
        if length % BLOCK and self._shares.shared(place.blocks[-1]):
            self._copy_last(place)

    def free(self, place: Blocks) -> None:
        """Give up all blocks."""
        self.truncate(place, 0)
        self._tenants[place.home] -= 1

    def truncate(self, place: Blocks, length: int) -> None:
        """Give up the blocks beyond `length` tokens."""
        keep = -(-length // BLOCK)
        for block in place.blocks[keep:]:
            self._shares.drop(block)
        del place.blocks[keep:]

    def prepare(self, places: list[Blocks], plan: Plan) -> FullStep:
        """Blocks for the new tokens, the last one copied first if it is shared."""
        for place, past, length in zip(places, plan.past, plan.lengths, strict=True):
            self.truncate(place, past)
            self.detach(place, past)
            while len(place.blocks) * BLOCK < past + length:
                place.blocks.append(self._take(place))
        ends = [past + length for past, length in zip(plan.past, plan.lengths, strict=True)]
        if self.dtype == torch.bfloat16 and usable(self.keys):
            runs = [_runs(place, end) for place, end in zip(places, ends, strict=True)]
            targets = [
                place.blocks[position // BLOCK] * BLOCK + position % BLOCK
                for place, past, end in zip(places, plan.past, ends, strict=True)
                for position in range(past, end)
            ]
            firsts, shape = plan.starts, (plan.lengths, plan.past)
            native = route(firsts, *shape, runs, targets, write_first=True, window=None, ahead=plan.all_ahead())
            return FullStep(store=self, lengths=plan.lengths, route=native)
        rows, reads = [], []
        for place, past, end in zip(places, plan.past, ends, strict=True):
            every = self._rows(place, end)
            reads.append(every)
            rows.append(torch.arange(every.start + past, every.stop) if isinstance(every, slice) else every[past:])
        ahead = [plan.ahead(document) for document in range(len(places))]
        rows = torch.cat(rows).to(self.keys.device)
        return FullStep(store=self, lengths=plan.lengths, rows=rows, reads=reads, ahead=ahead)

    def _take(self, place: Blocks) -> int:
        home = range(place.home * self._region, (place.home + 1) * self._region)
        follow = place.blocks[-1] + 1 if place.blocks else home.start
        return self._shares.take(range(follow, home.stop) if follow in home else home)

    def _copy_last(self, place: Blocks) -> None:
        old, new = place.blocks[-1], self._take(place)
        for tensor in self.tensors.values():
            tensor[:, new * BLOCK : (new + 1) * BLOCK] = tensor[:, old * BLOCK : (old + 1) * BLOCK]
        self._shares.drop(old)
        place.blocks[-1] = new

    def _rows(self, place: Blocks, length: int) -> slice | Tensor:
        """Where the first `length` tokens lie: a slice when in one piece, else int64 `[length]`."""
        runs = _runs(place, length)
        if len(runs) <= 1:
            first = runs[0][2] if runs else 0
            return slice(first, first + length)
        parts = [torch.arange(row, row + count) for _, count, row, _ in runs]
        return torch.cat(parts).to(self.keys.device)

    def dump(self, place: Blocks, length: int) -> dict[str, Tensor]:
        """`[L, length, G, K]` twice, and scales `[L, length, G]`."""
        rows = self._rows(place, length)
        return {name: tensor[:, rows].clone() for name, tensor in self.tensors.items()}

    def restore(self, place: Blocks, tensors: dict[str, Tensor], length: int) -> None:
        """Take blocks and fill them."""
        while len(place.blocks) * BLOCK < length:
            place.blocks.append(self._take(place))
        rows = self._rows(place, length)
        for name, tensor in self.tensors.items():
            tensor[:, rows] = tensors[name].to(tensor.device)

    def shapes(self, length: int) -> dict[str, tuple[int, ...]]:
        """Grow with the length."""
        return {name: (tensor.shape[0], length, *tensor.shape[2:]) for name, tensor in self.tensors.items()}

    def bytes(self) -> int:
        """Bytes allocated."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def bytes_used(self, place: Blocks) -> int:
        """Its blocks' bytes."""
        return len(place.blocks) * (self.bytes() // max(1, len(self._shares.owners)))

    def units(self, place: Blocks) -> list[int]:
        """Its blocks."""
        return list(place.blocks)


def _runs(place: Blocks, length: int) -> list[tuple[int, int, int, int]]:
    """Where the first `length` tokens lie, neighbouring blocks as one: (position, count, row, 0)."""
    out: list[tuple[int, int, int, int]] = []
    for index, block in enumerate(place.blocks[: -(-length // BLOCK)]):
        position, row = index * BLOCK, block * BLOCK
        count = min(BLOCK, length - position)
        if out and out[-1][2] + out[-1][1] == row:
            start, before, first, _ = out[-1]
            out[-1] = (start, before + count, first, 0)
        else:
            out.append((position, count, row, 0))
    return out


@dataclass(kw_only=True)
class FullStep:
    """One step's index tensors: `rows` int64 `[N]`, where each new token goes; `reads`, where each sequence lies;
    `ahead`, of each what pictures see (`Plan.ahead`); or, where the native kernel serves, its `route`."""

    store: FullStore
    lengths: tuple[int, ...]
    rows: Tensor | None = None
    reads: Sequence[slice | Tensor] = ()
    ahead: Sequence[Tensor | None] = ()
    route: Route | None = None

    def attend(self, row: int, query: Tensor, key: Tensor, value: Tensor, scale: float, cap: float | None) -> Tensor:
        """Remember the `row`-th layer's new keys and values, then attend. `[N, H, K]`, `[N, G, K]` → `[N, H, K]`."""
        memory = self.store.rows[row]
        if self.route is not None:
            return self.route.attend(memory, query, key, value, scale, cap)
        new = (key, value)
        if self.store.int8:
            (keys, key_scales), (values, value_scales) = quantise(key), quantise(value)
            new = (keys, values, key_scales, value_scales)
        for held, rows in zip(memory, new, strict=True):
            held[self.rows] = rows
        parts = [
            attend_tail(part, *self._read(memory, read), ahead, window=None, scale=scale, cap=cap)
            for part, read, ahead in zip(query.split(self.lengths), self.reads, self.ahead, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _read(self, memory: tuple[Tensor, ...], rows: slice | Tensor) -> tuple[Tensor, Tensor]:
        """A sequence's keys and values, `[S, G, K]` each."""
        if not self.store.int8:
            return memory[0][rows], memory[1][rows]
        keys, values, key_scales, value_scales = (tensor[rows] for tensor in memory)
        dtype = self.store.dtype
        return dequantise(keys, key_scales, dtype), dequantise(values, value_scales, dtype)
