"""What a model is trained on in one piece: flat tokens, what follows each, how much each counts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gemwright.data.pictures import Shown
from gemwright.ops.span import Span, Tensors, Tokens


@dataclass(frozen=True, kw_only=True)
class Row:
    """A packed row inside a batch: its `serial` number in the whole stream of the run, from 0 and across epochs, and
    how many `tokens` of the batch are its own, filler included."""

    serial: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Batch:
    """`ids`, `targets`: int64 `[N]`; `weight`: float32 `[N]`, 0 where nothing is learnt; `span`: which tokens
    make a document, and which a picture; `rows`: which make a packed row, in order. `pictures`: those of the span's
    images, in their order; `soft` `[M, D]`: what an encoder made of them all, with its graph where it is trained (None:
    nobody has looked yet, or there are none)."""

    ids: Tensor
    targets: Tensor
    weight: Tensor
    span: Span
    rows: tuple[Row, ...]
    pictures: tuple[Shown, ...] = ()
    soft: Tensor | None = None

    @property
    def tokens(self) -> int:
        """N, filler included."""
        return self.ids.shape[0]

    @property
    def count(self) -> float:
        """The sum of the weights, in float64."""
        return float(self.weight.sum(dtype=torch.float64))

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""
        old = self.span.tensors
        moved = Tensors(
            tokens=Tokens(
                position=old.position.to(device), document=old.document.to(device), image=old.image.to(device)
            ),
            starts=old.starts.to(device),
        )
        return replace(
            self,
            ids=self.ids.to(device),
            targets=self.targets.to(device),
            weight=self.weight.to(device),
            span=Span(plan=self.span.plan, tensors=moved),
            soft=None if self.soft is None else self.soft.to(device),
        )
