"""Where a step's keys and values lie, as the native attention reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gemwright.ops.native import calls

Run = tuple[int, int, int, int]  # first position, count, first row, and 1 where the rows are the step's own


@dataclass(frozen=True, kw_only=True)
class Route:
    """One step through the native kernel, for all layers of a kind.

    sequences int64 `[B, 5]`: first row of the step, new tokens, tokens before them, and which of the runs are its keys.
    runs int64 `[M, 4]`. targets int64 `[N]`: the store's row for each new token, -1 for none. `write_first`: the new
    keys are read from the store; else they are read where they are, and stored after. ahead int64 `[N]`: see
    `Plan.ahead`; None where no new token is a picture's.
    """

    sequences: Tensor
    runs: Tensor
    targets: Tensor
    write_first: bool
    window: int | None
    ahead: Tensor | None

    def attend(
        self, memory: Sequence[Tensor], query: Tensor, key: Tensor, value: Tensor, scale: float, cap: float | None
    ) -> Tensor:
        """Remember and attend. memory: a layer's keys and values; query `[N, H, K]`, key, value `[N, G, K]`, bfloat16 →
        float32 `[N, H, K]`."""
        return calls.attend(
            query.contiguous(),
            key.contiguous(),
            value.contiguous(),
            list(memory),
            self.targets,
            self.sequences,
            self.runs,
            self.window or 0,
            scale,
            cap or 0.0,
            self.write_first,
            self.ahead,
        )


def usable(keys: Tensor) -> bool:
    """Does the native kernel serve a store whose keys are these?"""
    return (
        keys.dtype in (torch.bfloat16, torch.int8)
        and keys.device.type == "cpu"
        and keys.shape[-1] % 16 == 0
        and calls.available()
    )


def route(
    firsts: Sequence[int],
    lengths: Sequence[int],
    past: Sequence[int],
    runs: Sequence[Sequence[Run]],
    targets: Sequence[int],
    *,
    write_first: bool,
    window: int | None,
    ahead: Tensor | None,
) -> Route:
    """Index tensors from what each sequence has: its first row, new tokens, past, runs in order; all targets; and what
    pictures see."""
    rows, flat = [], []
    for first, length, before, own in zip(firsts, lengths, past, runs, strict=False):
        rows.append((first, length, before, len(flat), len(flat) + len(own)))
        flat += own
    return Route(
        sequences=torch.tensor(rows, dtype=torch.int64),
        runs=torch.tensor(flat, dtype=torch.int64),
        targets=torch.tensor(targets, dtype=torch.int64),
        write_first=write_first,
        window=window,
        ahead=ahead,
    )
