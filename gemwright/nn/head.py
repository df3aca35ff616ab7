"""The one head: from hidden states to scores over the vocabulary, cap and all, a few rows at a time.

Next-token loss, scoring and sampling all come through here. `[N, V]` exists only where a caller asks `logits` for
exactly those rows: 32,768 rows over 262,144 ids would be 34 GB.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gemwright.nn.embed import Table
from gemwright.ops.pointwise import soft_cap, wide

_CHUNK_BYTES = 64 << 20  # of float32 logits held at a time


class Head:
    """The tied table read backwards; it owns no parameters."""

    def __init__(self, embed: Table, cap: float | None) -> None:
        self._embed, self._cap = embed, cap

    def logits(self, hidden: Float[Tensor, "M D"]) -> Float[Tensor, "M V"]:
        """`[M, D]` → float32 `[M, V]`, capped."""
        return soft_cap(wide(self._embed.scores(hidden)), self._cap)

    def _rows(self) -> int:
        return max(1, _CHUNK_BYTES // (4 * self._embed.vocab))

    def log_probs(self, hidden: Float[Tensor, "M D"], targets: Int64[Tensor, " M"]) -> Float[Tensor, " M"]:
        """The log-probability of each row's target. hidden `[M, D]`, targets int64 `[M]` → float32 `[M]`."""
        if hidden.shape[0] <= self._rows():  # one chunk may stay in memory for its gradient
            return self._log_probs(hidden, targets)
        parts = zip(hidden.split(self._rows()), targets.split(self._rows()), strict=True)
        return torch.cat([self._recomputed(self._log_probs, *part) for part in parts])

    def cross_entropy(
        self, hidden: Float[Tensor, "M D"], targets: Int64[Tensor, " M"], weight: Float[Tensor, " M"]
    ) -> Float[Tensor, ""]:
        """`-Σ weight · log p(target)`, a float32 scalar: a sum, for only the training loop divides.

        hidden `[M, D]`, targets int64 `[M]`, weight float32 `[M]`. Rows of weight 0 are dropped before the product;
        gradients recompute each chunk's logits instead of keeping them.
        """
        counted = weight != 0
        if not bool(counted.all()):
            hidden, targets, weight = hidden[counted], targets[counted], weight[counted]
        if hidden.shape[0] == 0:
            return hidden.sum().float()
        return -(weight * self.log_probs(hidden, targets)).sum()

    def _log_probs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return -F.cross_entropy(self.logits(hidden), targets, reduction="none")

    @staticmethod
    def _recomputed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return function(*inputs)
        out = checkpoint(function, *inputs, use_reentrant=False)
        assert isinstance(out, Tensor)
        return out
