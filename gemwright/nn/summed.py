"""A sum over rows of scores whose gradients are made in the forward pass, while the scores are at hand.

A plain graph would keep the scores for the backward pass, or make them twice. Here a chunk of rows is multiplied with
the table, its loss taken, and the gradient of its scores multiplied at once into those of the hidden states and the
table: three products for each chunk, none of them twice, and the scores live in one buffer. Nothing is left for the
backward pass but to multiply by one number.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gemwright.ops.native.gradients import compute_dtype
from gemwright.ops.pointwise import wide

_TABLE_ROWS = 8192


@runtime_checkable  # the shape checks of the tests ask isinstance
class Loss(Protocol):
    """The weighted loss of each row of a chunk: scores `[m, V]`, which are rows `rows` of all → `[m]`, float32. With
    `gradient`, it overwrites the scores by the gradient of the losses' sum."""

    def __call__(self, scores: Tensor, rows: slice, *, gradient: bool) -> Tensor: ...


def summed(hidden: Tensor, table: Tensor, loss: Loss, chunk: int) -> Tensor:
    """`Σ loss(hidden @ table.T)`, `chunk` rows of hidden `[M, D]` at a time; table `[V, D]` → a float32 scalar.

    Gradients flow to `hidden` and `table`, once: a second backward pass raises `RuntimeError`.
    """
    total = _Summed.apply(hidden, table, loss, chunk)
    assert isinstance(total, Tensor)
    return total


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, loss: Loss, chunk: int) -> Tensor:
        dtype = compute_dtype(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            chunks = _Chunks(hidden, table, dtype, ctx.needs_input_grad, chunk)
            losses = [chunks.run(loss, slice(at, at + chunk)) for at in range(0, len(hidden), chunk)]
            ctx.gradients = (chunks.to_hidden, chunks.gradient())
            return torch.cat(losses).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # let go, so that they need not be copied
        if gradients is None:
            raise RuntimeError("the gradients of this sum have been taken already; compute it again")
        return *(None if gradient is None else gradient.mul_(outputs[0]) for gradient in gradients), None, None


class _Chunks:
    """The buffers of one pass. `to_hidden`: the gradient `[M, D]` of the hidden states, as far as it has come."""

    def __init__(self, hidden: Tensor, table: Tensor, dtype: torch.dtype, wanted: tuple[bool, ...], chunk: int) -> None:
        self._hidden, self._table = hidden, table.to(dtype)
        self._scores = hidden.new_empty(min(chunk, len(hidden)), len(table), dtype=dtype)
        self.to_hidden = torch.empty_like(hidden) if wanted[0] else None
        self._sum = self._product = None
        self._dtype = table.dtype
        if wanted[1]:
            self._sum = torch.zeros_like(table, dtype=wide(table[:0]).dtype)
            # Products in bfloat16 are summed in float32, some rows of the table at a time, while they are in the
            # cache; others go straight to the sum.
            self._product = None if dtype == self._sum.dtype else self._table.new_empty(_TABLE_ROWS, table.shape[1])

    def run(self, loss: Loss, rows: slice) -> Tensor:
        """The losses of some rows; their gradients are added to the rest."""
        part = self._hidden[rows].to(self._table.dtype)
        scores = torch.mm(part, self._table.T, out=self._scores[: len(part)])
        losses = loss(scores, rows, gradient=True)
        if self.to_hidden is not None:
            self.to_hidden[rows] = scores @ self._table
        if self._sum is not None:
            if self._product is None:
                self._sum.addmm_(scores.T, part)
            else:
                for into, columns in zip(self._sum.split(_TABLE_ROWS), scores.split(_TABLE_ROWS, dim=1), strict=True):
                    into.add_(torch.mm(columns.T, part, out=self._product[: len(into)]))
        return losses

    def gradient(self) -> Tensor | None:
        """The table's gradient `[V, D]`, in its dtype."""
        return None if self._sum is None else self._sum.to(self._dtype)
