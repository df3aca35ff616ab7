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
        super().__init__({"states": self.states, "inputs": self.inputs}, slots)

    def prepare(self, places: list[list[int]], plan: Plan) -> RecurrentStep:
        """Own the slots, and find the rows to read and write."""
        device = self.states.device
        slots = torch.tensor([self.own(place) for place in places])
        past = torch.tensor(plan.past)
        tail = past[:, None] + torch.arange(-self.taps, 0)
        return RecurrentStep(
            store=self,
            slots=slots.to(device),
            starts=torch.tensor(plan.starts[:-1]).to(device),
            state_rows=((past - 1) % self.states.shape[2]).to(device),
            tail_rows=(tail % self.inputs.shape[2]).to(device),
            unborn=(past == 0)[:, None].to(device),
            missing=(tail < 0)[:, :, None].to(device),
            states=self._targets(slots, plan, self.states.shape[2]),
            inputs=self._targets(slots, plan, self.inputs.shape[2]),
        )

    def _targets(self, slots: Tensor, plan: Plan, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """For the last tokens of each sequence, as many as the ring holds: flat row, slot, row of the ring."""
        flat, slot, ring = [], [], []
        for index, (start, past, length) in enumerate(zip(plan.starts, plan.past, plan.lengths, strict=False)):
            last = torch.arange(max(0, length - rows), length)
            flat.append(start + last)
            slot.append(slots[index].expand(len(last)))
            ring.append((past + last) % rows)
        device = self.states.device
        return torch.cat(flat).to(device), torch.cat(slot).to(device), torch.cat(ring).to(device)


@dataclass(kw_only=True)
class RecurrentStep:
    """One step's index tensors; `starts` int64 `[D]` is each sequence's first row in the flat tokens."""

    store: RecurrentStore
    slots: Tensor
    starts: Tensor
    state_rows: Tensor
    tail_rows: Tensor
    unborn: Tensor
    missing: Tensor
    states: tuple[Tensor, Tensor, Tensor]
    inputs: tuple[Tensor, Tensor, Tensor]

    def read(self, row: int) -> tuple[Tensor, Tensor]:
        """The `row`-th layer's states `[D, R]` and last convolution inputs `[D, taps, R]`, 0 before the start."""
        state = self.store.states[row][self.slots, self.state_rows].masked_fill(self.unborn, 0.0)
        tail = self.store.inputs[row][self.slots[:, None], self.tail_rows].masked_fill(self.missing, 0.0)
        return state, tail

    def write(self, row: int, states: Tensor, inputs: Tensor) -> None:
        """Remember the `row`-th layer's new states and convolution inputs, `[N, R]` each."""
        flat, slot, ring = self.states
        self.store.states[row][slot, ring] = states[flat]
        flat, slot, ring = self.inputs
        self.store.inputs[row][slot, ring] = inputs[flat].to(self.store.inputs.dtype)
