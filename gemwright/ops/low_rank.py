"""What an adapter is, and what it adds to a matrix: `scale · B A`, a product of low rank (LoRA, arXiv 2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gemwright.ops.pointwise import wide


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """An addend to a matrix `[O, I]`: a `[r, I]` and b `[O, r]`.

    `rslora`: alpha is divided by √r instead of r, which keeps the addend's size when the rank grows (arXiv 2312.03732).
    """

    a: Float[Tensor, "r I"]
    b: Float[Tensor, "O r"]
    alpha: float
    rslora: bool

    @property
    def rank(self) -> int:
        """r, the rows of a."""
        return self.a.shape[0]

    @property
    def scale(self) -> float:
        """What the product is multiplied with."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def added(self, weight: Float[Tensor, "n I"], start: int = 0) -> Float[Tensor, "n I"]:
        """`weight + scale · B A`, for rows `[start, start + n)` of the matrix: float32, or float64 from float64."""
        full = wide(weight)
        b = self.b[start : start + weight.shape[0]]
        return torch.addmm(full, b.to(full), self.a.to(full), alpha=self.scale)

    def norm(self) -> float:
        """The Frobenius norm of `scale · B A`, in float64, without making the product: ‖BA‖² = tr(BᵀB · AAᵀ)."""
        a, b = self.a.detach().double(), self.b.detach().double()
        squares = float(((b.T @ b) * (a @ a.T)).sum())
        return abs(self.scale) * (0.0 if squares < 0 else math.sqrt(squares))


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The addends of a whole model, by the path of the linear module ("layers.0.mixer.query").

    `dropout`: the share of a module's inputs that is dropped in training; `base`: what it was trained on, if stated.
    """

    modules: Mapping[str, LowRank]
    dropout: float
    base: str | None

    @property
    def is_idle(self) -> bool:
        """Whether it changes nothing: every addend is 0."""
        return all(pair.norm() == 0.0 for pair in self.modules.values())
