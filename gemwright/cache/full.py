"""Global layers: every key and value, in blocks of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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
    """Keys and values `[L, blocks * BLOCK, G, K]` of L layers."""

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
    ) -> None:
        self.layers = layers
        self._region = -(-tokens // BLOCK)
        shape = (len(layers), sequences * self._region * BLOCK, kv_heads, head_dim)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)
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
        rows, reads = [], []
        for place, past, length in zip(places, plan.past, plan.lengths, strict=True):
            self.truncate(place, past)
            if past % BLOCK and self._shares.shared(place.blocks[-1]):
                self._copy_last(place)
            while len(place.blocks) * BLOCK < past + length:
                place.blocks.append(self._take(place))
            every = self._rows(place, past + length)
            reads.append(every)
            rows.append(torch.arange(every.start + past, every.stop) if isinstance(every, slice) else every[past:])
        return FullStep(store=self, lengths=plan.lengths, rows=torch.cat(rows).to(self.keys.device), reads=reads)

    def _take(self, place: Blocks) -> int:
        home = range(place.home * self._region, (place.home + 1) * self._region)
        follow = place.blocks[-1] + 1 if place.blocks else home.start
        return self._shares.take(range(follow, home.stop) if follow in home else home)

    def _copy_last(self, place: Blocks) -> None:
        old, new = place.blocks[-1], self._take(place)
        for tensor in (self.keys, self.values):
            tensor[:, new * BLOCK : (new + 1) * BLOCK] = tensor[:, old * BLOCK : (old + 1) * BLOCK]
        self._shares.drop(old)
        place.blocks[-1] = new

    def _rows(self, place: Blocks, length: int) -> slice | Tensor:
        """Where the first `length` tokens lie: a slice when in one piece, else int64 `[length]`."""
        blocks = place.blocks[: -(-length // BLOCK)]
        first = blocks[0] if blocks else 0
        if blocks == list(range(first, first + len(blocks))):
            return slice(first * BLOCK, first * BLOCK + length)
        starts = torch.tensor(blocks)[:, None] * BLOCK
        return (starts + torch.arange(BLOCK)).flatten()[:length].to(self.keys.device)

    def dump(self, place: Blocks, length: int) -> dict[str, Tensor]:
        """`[L, length, G, K]` twice."""
        rows = self._rows(place, length)
        return {"keys": self.keys[:, rows].clone(), "values": self.values[:, rows].clone()}

    def restore(self, place: Blocks, tensors: dict[str, Tensor], length: int) -> None:
        """Take blocks and fill them."""
        while len(place.blocks) * BLOCK < length:
            place.blocks.append(self._take(place))
        rows = self._rows(place, length)
        self.keys[:, rows] = tensors["keys"].to(self.keys.device)
        self.values[:, rows] = tensors["values"].to(self.values.device)

    def shapes(self, length: int) -> dict[str, tuple[int, ...]]:
        """Grow with the length."""
        shape = (self.keys.shape[0], length, *self.keys.shape[2:])
        return {"keys": shape, "values": shape}

    def bytes(self) -> int:
        """Bytes allocated."""
        return self.keys.nbytes + self.values.nbytes

    def bytes_used(self, place: Blocks) -> int:
        """Its blocks' bytes."""
        return len(place.blocks) * (self.bytes() // max(1, len(self._shares.owners)))


@dataclass(kw_only=True)
class FullStep:
    """One step's index tensors: `rows` int64 `[N]`, where each new token goes; `reads`, where each sequence lies."""

    store: FullStore
    lengths: tuple[int, ...]
    rows: Tensor
    reads: list[slice | Tensor]

    def attend(self, row: int, query: Tensor, key: Tensor, value: Tensor, scale: float, cap: float | None) -> Tensor:
        """Remember the `row`-th layer's new keys and values, then attend. `[N, H, K]`, `[N, G, K]` → `[N, H, K]`."""
        keys, values = self.store.keys[row], self.store.values[row]
        keys[self.rows], values[self.rows] = key, value
        parts = [
            attend_tail(part, keys[read], values[read], window=None, scale=scale, cap=cap)
            for part, read in zip(query.split(self.lengths), self.reads, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)
