"""The tied table: ids in, vectors out; and at the other end vectors in, scores out."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from gemwright.arch.spec import Model


@runtime_checkable  # the shape checks of the tests ask isinstance
class Table(Protocol):
    """What the head reads: the embedding, or a swap in its place."""

    @property
    def vocab(self) -> int: ...

    def scores(self, hidden: Float[Tensor, "M D"]) -> Float[Tensor, "M V"]: ...


class Embedding(nn.Module):
    """A table `[V, D]` that the model reads at both ends; only the lookup is scaled."""

    def __init__(self, spec: Model) -> None:
        super().__init__()
        self.scale, self.rounding = spec.embed_scale, spec.embed_rounding
        self.weight = nn.Parameter(torch.empty(spec.vocab, spec.width))

    @property
    def vocab(self) -> int:
        """V, the rows."""
        return self.weight.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """Of the activations that begin here, and of what is remembered of them."""
        return self.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the table lies."""
        return self.weight.device

    def rounded_scale(self, dtype: torch.dtype) -> float:
        """The multiplier as the activations know it: sqrt(D) is rounded before it multiplies, never after."""
        rounded = torch.bfloat16 if self.rounding == "bfloat16" else dtype
        return torch.tensor(self.scale, dtype=torch.float64).to(rounded).item()

    def forward(self, ids: Int64[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """int64 `[N]` → `[N, D]`."""
        return F.embedding(ids, self.weight) * self.rounded_scale(self.weight.dtype)

    def scores(self, hidden: Float[Tensor, "M D"]) -> Float[Tensor, "M V"]:
        """`[M, D]` → `[M, V]`, one product with the table; unscaled, uncapped."""
        return F.linear(hidden, self.weight)
