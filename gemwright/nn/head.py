"""The one head: from hidden states to scores over the vocabulary, cap and all, a few rows at a time.

Every loss, scoring and sampling come through here. `[N, V]` exists only where a caller asks `logits` for exactly those
rows: 32,768 rows over 262,144 ids would be 34 GB.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gemwright.nn.embed import Embedding, Table
from gemwright.nn.summed import Loss, summed
from gemwright.ops.native.gradients import compute_dtype
from gemwright.ops.pointwise import soft_cap, wide
from gemwright.ops.soft_targets import soft_targets_

_CHUNK_BYTES = 128 << 20  # of scores, in the dtype of the products: with few rows the table's gradient would be slow
_BLOCK_BYTES = 32 << 20  # of float32 scores that a caller's own loss sees at a time; it makes several such arrays
_SCORED_BYTES = 64 << 20  # of float32 logits, where log-probabilities are asked for


class Head:
    """The tied table read backwards; it owns no parameters."""

    def __init__(self, embed: Table, cap: float | None) -> None:
        self._embed, self._cap = embed, cap

    @property
    def vocab(self) -> int:
        """V, the rows of the table."""
        return self._embed.vocab

    def logits(self, hidden: Float[Tensor, "M D"]) -> Float[Tensor, "M V"]:
        """`[M, D]` → float32 `[M, V]`, capped."""
        return soft_cap(wide(self._embed.scores(hidden)), self._cap)

    def log_probs(self, hidden: Float[Tensor, "M D"], targets: Int64[Tensor, " M"]) -> Float[Tensor, " M"]:
        """The log-probability of each row's target. hidden `[M, D]`, targets int64 `[M]` → float32 `[M]`.

        Gradients recompute each chunk's logits instead of keeping them: where a sum is all that is wanted, the losses
        below are faster.
        """
        rows = max(1, _SCORED_BYTES // (4 * self.vocab))
        if hidden.shape[0] <= rows:  # one chunk may stay in memory for its gradient
            return self._log_probs(hidden, targets)
        parts = zip(hidden.split(rows), targets.split(rows), strict=True)
        return torch.cat([self._recomputed(self._log_probs, *part) for part in parts])

    def cross_entropy(
        self, hidden: Float[Tensor, "M D"], targets: Int64[Tensor, " M"], weight: Float[Tensor, " M"], z: float = 0.0
    ) -> Float[Tensor, ""]:
        """`Σ weight · (-log p(target) + z · lse²)`, a float32 scalar: a sum, for only the training loop divides.

        hidden `[M, D]`, targets int64 `[M]`, weight float32 `[M]`; lse: the logarithm of a row's normaliser. Here and
        in the losses below, rows of weight 0 are dropped before the product, and gradients to the hidden states and
        the table, not to weights or shares, are made in the forward pass: one backward pass may follow.
        """
        return self.soft_cross_entropy(hidden, targets[:, None], torch.ones_like(weight)[:, None], weight, z=z)

    def soft_cross_entropy(
        self,
        hidden: Float[Tensor, "M D"],
        ids: Int64[Tensor, "M L"],
        shares: Float[Tensor, "M L"],
        weight: Float[Tensor, " M"],
        *,
        temperature: float = 1.0,
        z: float = 0.0,
    ) -> Float[Tensor, ""]:
        """Cross-entropy against L targets a row, `ids` int64 `[M, L]` with `shares` float32 `[M, L]`: the sum over rows
        of `weight · temperature² · (Σ_k shares_k · -log p(ids_k) + z · lse²)`, where p is the softmax of the scores
        over `temperature`. A float32 scalar; see `ops.soft_targets`."""
        return self._soft(hidden, ids, shares, weight, temperature, z)[0]

    def mixed_cross_entropy(
        self,
        hidden: Float[Tensor, "M D"],
        targets: Int64[Tensor, " M"],
        ids: Int64[Tensor, "M L"],
        shares: Float[Tensor, "M L"],
        weight: Float[Tensor, " M"],
        *,
        share: float,
        z: float = 0.0,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """`share` of `soft_cross_entropy` and the rest of `cross_entropy`, for the price of one. Returns the mixture,
        with z's term, and what `cross_entropy` alone would be, without its graph and without z's term."""
        ids = torch.cat([ids, targets[:, None]], dim=1)
        rest = torch.full_like(shares[:, :1], 1 - share)
        return self._soft(hidden, ids, torch.cat([share * shares, rest], dim=1), weight, 1.0, z)

    def reduce(
        self,
        hidden: Float[Tensor, "M D"],
        weight: Float[Tensor, " M"],
        loss: Callable[[Tensor, Tensor], Tensor],
    ) -> Float[Tensor, ""]:
        """`Σ weight · loss`, a float32 scalar, for a loss that wants whole rows of logits.

        `loss(logits, rows)` gets capped float32 logits `[m, V]` of a few rows and their numbers in `hidden`, int64
        `[m]`; it returns float32 `[m]`, and autograd finds its gradient.
        """
        numbers = torch.arange(len(weight), device=hidden.device)[weight != 0]
        step = max(1, _BLOCK_BYTES // (4 * self.vocab))
        cap, weight = self._cap, weight[numbers]

        def inner(scores: Tensor, rows: slice, *, gradient: bool) -> Tensor:
            losses = []
            parts = zip(scores.split(step), numbers[rows].split(step), weight[rows].split(step), strict=True)
            for part, where, heavy in parts:
                with torch.set_grad_enabled(gradient):
                    raw = wide(part).detach().requires_grad_(gradient)
                    losses.append(heavy * loss(soft_cap(raw, cap), where))
                    if gradient:
                        part.copy_(torch.autograd.grad(losses[-1].sum(), raw)[0])
            return torch.cat(losses).detach()

        return self._sum(hidden[numbers], inner)

    def _soft(
        self, hidden: Tensor, ids: Tensor, shares: Tensor, weight: Tensor, temperature: float, z: float
    ) -> tuple[Tensor, Tensor]:
        """The loss, and the plain cross-entropy of the last ids at the same temperature."""
        counted = weight != 0
        if not bool(counted.all()):
            hidden, ids, shares, weight = hidden[counted], ids[counted], shares[counted], weight[counted]
        cap, plain = self._cap, torch.zeros((), dtype=torch.float64, device=hidden.device)

        def inner(scores: Tensor, rows: slice, *, gradient: bool) -> Tensor:
            last = soft_cap(wide(scores.gather(1, ids[rows, -1:])[:, 0]), cap) / temperature
            losses, lse = soft_targets_(
                scores,
                ids[rows],
                shares[rows],
                weight[rows],
                cap=cap,
                temperature=temperature,
                z=z,
                gradient=gradient,
            )
            plain.add_((weight[rows] * (lse - last)).sum(dtype=torch.float64))
            return weight[rows] * losses

        return self._sum(hidden, inner), plain.to(wide(hidden[:0]).dtype)

    def _sum(self, hidden: Tensor, loss: Loss) -> Tensor:
        """The sum of a loss over all rows of hidden `[M, D]`, in chunks."""
        if hidden.shape[0] == 0:
            return wide(hidden).sum()
        chunk = max(1, _CHUNK_BYTES // (compute_dtype(hidden).itemsize * self.vocab))
        table = self._embed.weight if isinstance(self._embed, Embedding) else None
        if torch.is_grad_enabled() and (hidden.requires_grad or (table is not None and table.requires_grad)):
            if table is None:
                raise ValueError("a packed table has no gradients: train the plain model")
            return summed(hidden, table, loss, chunk)
        cuts = [slice(at, at + chunk) for at in range(0, len(hidden), chunk)]
        losses = [loss(self._embed.scores(hidden[rows]), rows, gradient=False) for rows in cuts]
        return torch.cat(losses).sum()

    def _log_probs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return -F.cross_entropy(self.logits(hidden), targets, reduction="none")

    @staticmethod
    def _recomputed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return function(*inputs)
        out = checkpoint(function, *inputs, use_reentrant=False)
        assert isinstance(out, Tensor)
        return out
