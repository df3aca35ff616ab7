"""Recurrent layers: a state of fixed size, however long the past.

To roll back, a layer keeps its last few states instead of only the last: the state after position p in row
`p % (slack + 2)`, and the convolution's inputs likewise. One row more than the slack lets a step that never was
committed be forgotten too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gemwright.cache.store import Kind, Slots
from gemwright.ops.span import Plan


class RecurrentStore(Slots):
    """States float32 `[L, slots, slack + 2, R]`, and inputs of the convolution `[L, slots, taps + slack + 1, R]` in the
    dtype of the activations. `taps` is how many earlier inputs the convolution sees."""

    kind: Kind = "recurrent"

    def __init__(
        self,
        *,
        layers: tuple[int, ...],
        width: int,
        taps: int,
        slack: int,
        slots: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        self.layers, self.taps = layers, taps
        state = torch.promote_types(dtype, torch.float32)
        self.states = torch.empty(len(layers), slots, slack + 2, width, dtype=state, device=device)
        self.inputs = torch.empty(len(layers), slots, taps + slack + 1, width, dtype=dtype, device=device)
        # Each layer's rows, slot after slot.
        self.state_rows = list(self.states.flatten(1, 2))
        self.input_rows = list(self.inputs.flatten(1, 2))
        super().__init__({"states": self.states, "inputs": self.inputs}, slots)

    def prepare(self, places: list[list[int]], plan: Plan) -> RecurrentStep:
        """Own the slots, and find the rows to read and write."""
        device = self.states.device
        slots = torch.tensor([self.own(place) for place in places])
        past = torch.tensor(plan.past)
        kept, held = self.states.shape[2], self.inputs.shape[2]
        tail = past[:, None] + torch.arange(-self.taps, 0)
        return RecurrentStep(
            store=self,
            bounds=torch.tensor(plan.starts).to(device),
            fresh=torch.tensor([int(before == 0) for before in plan.past]).to(device),
            state=(slots * kept + (past - 1) % kept).to(device),
            tail=(slots[:, None] * held + tail % held).to(device),
            unborn=(past == 0)[:, None].to(device) if min(plan.past) == 0 else None,
            missing=(tail < 0)[:, :, None].to(device) if min(plan.past) < self.taps else None,
            states=self._targets(slots, plan, kept),
            inputs=self._targets(slots, plan, held),
        )

    def _targets(self, slots: Tensor, plan: Plan, rows: int) -> tuple[Tensor | None, Tensor]:
        """For the last tokens of each sequence, as many as the ring holds: their rows of the step (None: all of them,
        in order), and their rows of the store."""
        flat, place = [], []
        for index, (start, past, length) in enumerate(zip(plan.starts, plan.past, plan.lengths, strict=False)):
            last = torch.arange(max(0, length - rows), length)
            flat.append(start + last)
            place.append(slots[index] * rows + (past + last) % rows)
        device = self.states.device
        every = max(plan.lengths) <= rows
        return None if every else torch.cat(flat).to(device), torch.cat(place).to(device)


@dataclass(kw_only=True)
class RecurrentStep:
    """One step's index tensors. `bounds` int64 `[D + 1]`: each sequence's first row in the flat tokens, and their end;
    `fresh` int64 `[D]`: 1 where a sequence begins. `unborn` and `missing`: what lies before a start; None: nothing."""

    store: RecurrentStore
    bounds: Tensor
    fresh: Tensor
    state: Tensor
    tail: Tensor
    unborn: Tensor | None
    missing: Tensor | None
    states: tuple[Tensor | None, Tensor]
    inputs: tuple[Tensor | None, Tensor]

    def read(self, row: int) -> tuple[Tensor, Tensor]:
        """The `row`-th layer's states `[D, R]` and last convolution inputs `[D, taps, R]`, 0 before the start."""
        state = self.store.state_rows[row].index_select(0, self.state)
        tail = self.store.input_rows[row].index_select(0, self.tail.flatten()).view(*self.tail.shape, -1)
        if self.unborn is not None:
            state = state.masked_fill(self.unborn, 0.0)
        return state, tail if self.missing is None else tail.masked_fill(self.missing, 0.0)

    def write(self, row: int, states: Tensor, inputs: Tensor) -> None:
        """Remember the `row`-th layer's new states and convolution inputs, `[N, R]` each."""
        for store, (flat, place), new in (
            (self.store.state_rows[row], self.states, states),
            (self.store.input_rows[row], self.inputs, inputs),
        ):
            store.index_copy_(0, place, (new if flat is None else new[flat]).to(store.dtype))
