"""Tokens drawn from a teacher's predictions, each draw keyed by its place in the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gemwright.data.batch import Batch
from gemwright.ops.draw import descend, forks

Wording = Literal["report", "counts"]
_BLOCK_BYTES = 32 << 20  # of float64 held at a time


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What was drawn at each of M positions: `ids` int64, ascending in each row, `counts` int64, how often each was
    drawn, and `logprobs` float32, what the teacher gives each, rounded as a store keeps it (float16), so that a run
    beside the teacher learns the same as one from the store; all `[M, L]`. A count of 0 marks what fills a row up.
    """

    ids: Tensor
    counts: Tensor
    logprobs: Tensor

    def to(self, device: torch.device | str) -> Samples:
        """The same samples on `device`."""
        return Samples(ids=self.ids.to(device), counts=self.counts.to(device), logprobs=self.logprobs.to(device))

    def shares(self, wording: Wording) -> Tensor:
        """The student's targets, float32 `[M, L]`, each row's sum 1.

        "counts": how often each id was drawn, over all draws. Their mean is the teacher's distribution, so that losses
        and gradients are right on average. "report": the teacher's probabilities, renormalised on the drawn ids, as
        the report on Gemma 3 words it. They favour what is likely, since the unlikely is often not drawn at all.
        """
        if wording == "counts":
            return self.counts / self.counts.sum(1, keepdim=True)
        return self.logprobs.masked_fill(self.counts == 0, float("-inf")).softmax(1)


def places(batch: Batch) -> tuple[Tensor, Tensor]:
    """Where each token of a batch stands in the run: its row's serial number and its position in that row, int64 `[N]`
    each, on the batch's device."""
    device = batch.ids.device
    lengths = torch.tensor([row.tokens for row in batch.rows], device=device)
    serials = torch.tensor([row.serial for row in batch.rows], device=device)
    first = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    return serials.repeat_interleave(lengths), torch.arange(batch.tokens, device=device) - first


def draw(
    logits: Tensor, samples: int, seed: int, serial: Tensor, position: Tensor, *, temperature: float = 1.0
) -> Samples:
    """`samples` draws with replacement from the softmax of each row of `logits` `[M, V]` over `temperature`.

    Each row's draws are a function of (`seed`, `serial`, `position`) and of its logits alone, whatever stands around
    it. A draw goes down a binary tree of the ids' probabilities, summed in float64; at each fork a random number of its
    own, looked up by place, says which way. So the rounding noise by which logits differ from batch to batch moves a
    draw only where a number falls within that noise of one of its few forks. Put through the inverse of the cumulated
    probabilities, one number would meet the noise of all of them: over 262,144 ids, noise of 1e-6 can then change some
    of 256 draws at most positions; here it does at fewer than one in a thousand.

    Raises `ValueError` for logits that are not finite.
    """
    numbers = samples * forks(logits.shape[1])
    step = max(1, _BLOCK_BYTES // (8 * (4 * logits.shape[1] + 8 * numbers)))
    parts = [
        _draw(some, samples, seed, its_serial, its_position, temperature)
        for some, its_serial, its_position in zip(
            logits.split(step), serial.split(step), position.split(step), strict=True
        )
    ]
    return join(parts)


def join(parts: list[Samples]) -> Samples:
    """Samples of several stretches of positions as one, no wider than need be."""
    width = max((int((part.counts > 0).sum(1).max()) for part in parts if len(part.ids)), default=1)

    def fitted(tensor: Tensor) -> Tensor:
        return torch.nn.functional.pad(tensor, (0, width - tensor.shape[1]))  # cuts where that is negative

    return Samples(
        ids=torch.cat([fitted(part.ids) for part in parts]),
        counts=torch.cat([fitted(part.counts) for part in parts]),
        logprobs=torch.cat([fitted(part.logprobs) for part in parts]),
    )


def _draw(logits: Tensor, samples: int, seed: int, serial: Tensor, position: Tensor, temperature: float) -> Samples:
    logits = logits if temperature == 1.0 else logits / temperature
    logits = logits - logits.amax(1, keepdim=True)
    found, total = descend(logits.exp(), samples, seed, serial, position)
    if not bool(total.isfinite().all()):
        raise ValueError("the teacher's scores are not finite")
    first = torch.ones_like(found, dtype=torch.bool)
    first[:, 1:] = found[:, 1:] != found[:, :-1]
    slot = first.cumsum(1) - 1
    ids = torch.zeros_like(found).scatter_(1, slot, found)
    counts = torch.zeros_like(found).scatter_add_(1, slot, torch.ones_like(found))
    logprobs = (logits.gather(1, ids) - total.log()).half().float().masked_fill(counts == 0, 0.0)
    return Samples(ids=ids, counts=counts, logprobs=logprobs)
