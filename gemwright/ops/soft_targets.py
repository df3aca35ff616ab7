"""Cross-entropy against a few weighted targets per row, which leaves its gradient where the scores were."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gemwright.ops.native import gradients
from gemwright.ops.pointwise import soft_cap, wide

_BLOCK_BYTES = 4 << 20  # of float32 held at a time, in a handful of such arrays


def soft_targets_(
    scores: Float[Tensor, "M V"],
    ids: Int64[Tensor, "M L"],
    shares: Float[Tensor, "M L"],
    weight: Float[Tensor, " M"],
    *,
    cap: float | None = None,
    temperature: float = 1.0,
    z: float = 0.0,
    gradient: bool = True,
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """Of each row: the loss, and the logarithm of its normaliser.

    With `t = soft_cap(scores) / temperature` and `lse = log Σ exp t`, the loss is
    `temperature² · (Σ_k shares_k · (lse − t[ids_k]) + z · lse²)`: the square keeps the size of the gradient the same at
    every temperature (Hinton et al. 2015), and the last term draws normalisers to 1 (the z-loss of PaLM, Chowdhery et
    al. 2022). An id may stand in a row more than once; a share of 0 makes one count for nothing.

    With `gradient`, `scores` is overwritten by the gradient of `Σ weight · loss` with respect to it, in its own dtype.
    The arithmetic is float32 (float64 for scores in float64), as are both results `[M]`; they are not weighted.
    """
    if gradient and (done := gradients.soft_targets_(scores, ids, shares, weight, cap, temperature, z)) is not None:
        return done
    step = max(1, _BLOCK_BYTES // (4 * scores.shape[1]))
    losses = scores.new_empty(len(scores), dtype=wide(scores[:0]).dtype)
    normalisers = torch.empty_like(losses)
    for start in range(0, len(scores), step):
        rows = slice(start, start + step)
        losses[rows], normalisers[rows] = _block(
            scores[rows], ids[rows], shares[rows], weight[rows], cap, temperature, z, gradient
        )
    return losses, normalisers


def _block(
    scores: Tensor,
    ids: Tensor,
    shares: Tensor,
    weight: Tensor,
    cap: float | None,
    temperature: float,
    z: float,
    gradient: bool,
) -> tuple[Tensor, Tensor]:
    """A few rows of `soft_targets_`."""
    capped = soft_cap(wide(scores), cap)
    logits = capped if temperature == 1.0 else capped / temperature
    shares, weight = shares.to(logits.dtype), weight.to(logits.dtype)
    lse = logits.logsumexp(1)
    loss = (shares * (lse[:, None] - logits.gather(1, ids))).sum(1) + z * lse.square()
    if gradient:
        slope = (logits - lse[:, None]).exp_()
        slope.mul_((shares.sum(1) + 2 * z * lse)[:, None]).scatter_add_(1, ids, -shares)
        slope.mul_((weight * temperature)[:, None])  # the square, less one for the division of the scores
        if cap is not None:
            slope.mul_(1 - (capped / cap).square_())
        scores.copy_(slope)
    return temperature**2 * loss, lse
