"""One token from one row of logits.

The order is that of Google's PyTorch sampler, with what it lacks put where it changes nothing else:

1. repetition penalty, then logit bias, then the ids that are never drawn (padding rows of the table, image markers);
2. divide by the temperature; temperature 0 ends here with the largest logit, the lowest id of equals;
3. softmax in float32 over the whole vocabulary, sorted downwards, the lowest id first among equals;
4. top-p: drop what has more than `top_p` of probability *before* it (the token that crosses the line stays);
5. top-k: keep the first k; 6. min-p: keep what has at least `min_p` times the likeliest one's probability;
7. renormalise and draw, by one uniform number and the running sum.

Top-p looks at the whole vocabulary's probabilities, not at the top-k's, as in that sampler; the two differ.

The uniform number of the i-th token of an answer is a pure function of (seed, i). No generator's state has to be kept,
saved or rolled back, and no neighbour in the batch can shift it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection

import torch
from torch import Tensor

from gemwright.engine.request import Sampling, TokenLogprob
from gemwright.errors import ModelError, UserError

# Sorted prefix that is tried for a nucleus without top-k, before the whole vocabulary is sorted.
_NUCLEUS = 1024

# Numbers in a block: what looks for the largest of a vocabulary looks at the largest of each block first, which is one
# fast pass. It divides the tables of all Gemmas; a table that it does not divide is searched as it stands.
_BLOCK = 64

# A temperature under this is 0: quotients would leave float32.
_COLD = 1e-6


def uniform(seed: int, index: int) -> float:
    """A number in [0, 1) with 53 random bits, the same for the same arguments on every machine."""
    digest = hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2.0**53


def pick(logits: Tensor, sampling: Sampling, *, seen: Collection[int], banned: Tensor, number: float) -> int:
    """Draws one id.

    `logits` float32 `[V]`, not changed; `sampling` resolved; `seen` the ids so far, prompt and answer; `banned` int64,
    the ids that are never drawn; `number` in [0, 1). Raises `UserError` when no id can be drawn.
    """
    plain = (sampling.repetition_penalty or 1.0) == 1.0 and not sampling.logit_bias
    if plain and (sampling.temperature or 0.0) < _COLD:
        # Most greedy answers need no copy of the row: the largest may be drawn as it stands.
        best = _likeliest(logits)
        if math.isfinite(float(logits[best])) and not bool((banned == best).any()):
            return best
    logits = adjust(logits, sampling, seen=seen, banned=banned)
    best = _likeliest(logits)
    highest = float(logits[best])
    if highest != highest or highest == float("inf"):
        raise ModelError("the model gave logits that are no numbers", hint="check its weights, or load it as float32")
    if highest == float("-inf"):
        raise UserError("every token is forbidden", hint="forbid less by logit_bias")
    if (sampling.temperature or 0.0) < _COLD:
        return best
    probabilities, ids = survivors(logits, sampling)
    running = probabilities.double().cumsum(0)
    place = int(torch.searchsorted(running, number * float(running[-1]), right=True))
    return int(ids[min(place, len(ids) - 1)])


def adjust(logits: Tensor, sampling: Sampling, *, seen: Collection[int], banned: Tensor) -> Tensor:
    """Step 1: a copy of the logits with penalty, bias and masks. The penalty is that of CTRL (section 4.1), with the
    sign taken care of as everybody does since."""
    logits = logits.float().clone()
    penalty = sampling.repetition_penalty or 1.0
    if penalty != 1.0 and seen:
        # A picture's ids may lie beyond the table.
        ids = torch.tensor(sorted(id for id in set(seen) if id < len(logits)), device=logits.device)
        values = logits[ids]
        logits[ids] = torch.where(values > 0, values / penalty, values * penalty)
    if sampling.logit_bias:
        ids = torch.tensor(list(sampling.logit_bias), device=logits.device)
        logits[ids] += torch.tensor(list(sampling.logit_bias.values()), dtype=torch.float32, device=logits.device)
    logits[banned] = float("-inf")
    return logits


def survivors(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Steps 2 to 6: probabilities of the tokens that may be drawn, downwards and not renormalised, and their ids.

    Equal, bit by bit, to `survivors_by_sorting`; it sorts only as many as top-k or the nucleus can need.
    """
    probabilities = _softmax(logits, sampling)
    size = len(probabilities)
    limit = sampling.top_k or (_NUCLEUS if _nucleus(sampling) else size)
    if limit < size:
        values, ids = _largest(probabilities, limit)
        # Without top-k the prefix is enough only if the nucleus ends inside it.
        if sampling.top_k or float(values.double().cumsum(0)[-1]) > _nucleus(sampling):
            return _filter(values, ids, sampling)
    return survivors_by_sorting(logits, sampling)


def survivors_by_sorting(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """The same by the plain definition: sort the whole vocabulary, then filter. The reference of `survivors`."""
    probabilities = _softmax(logits, sampling)
    return _filter(*torch.sort(probabilities, descending=True, stable=True), sampling)


def logprob(logits: Tensor, id: int, top: int) -> TokenLogprob:
    """The model's own log-probability of `id`, and of the `top` likeliest ids; `logits` float32 `[V]` as the head gave
    them."""
    logs = torch.log_softmax(logits.float(), dim=-1)
    alternatives: tuple[tuple[int, float], ...] = ()
    if top:
        values, ids = _largest(logs, min(top, len(logs)))
        alternatives = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return TokenLogprob(id=id, logprob=float(logs[id]), top=alternatives)


def _softmax(logits: Tensor, sampling: Sampling) -> Tensor:
    assert sampling.temperature, "survivors are asked for where something is drawn"
    if sampling.temperature != 1:
        logits = (logits - logits.max()).div_(sampling.temperature)  # shifted: no quotient overflows
    return torch.softmax(logits, dim=-1)


def _nucleus(sampling: Sampling) -> float:
    """top_p, or 0 where it drops nothing: sums of rounded probabilities may pass 1, so 1 must not be compared."""
    return sampling.top_p if sampling.top_p is not None and sampling.top_p < 1 else 0.0


def _filter(probabilities: Tensor, ids: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Top-p, top-k and min-p on sorted probabilities; each keeps a beginning, and at least the first."""
    keep = len(ids)
    if nucleus := _nucleus(sampling):
        before = probabilities.double().cumsum(0)[:-1]
        keep = 1 + int((before <= nucleus).sum())
    if sampling.top_k:
        keep = min(keep, sampling.top_k)
    if sampling.min_p:
        keep = min(keep, int((probabilities >= sampling.min_p * probabilities[0]).sum()))
    keep = min(keep, max(1, int((probabilities > 0).sum())))  # a forbidden token never fills a place
    return probabilities[:keep], ids[:keep]


def _likeliest(values: Tensor) -> int:
    """`torch.argmax` of a vector: the first of equal ones, and the first that is no number. That function alone looks
    at one number after the other."""
    if len(values) % _BLOCK:
        return int(values.argmax())
    blocks = values.view(-1, _BLOCK)
    block = int(blocks.amax(dim=1).argmax())
    return block * _BLOCK + int(blocks[block].argmax())


def _largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` of a stable downward sort, without the sort: topk promises no order among equals.

    As many blocks as that have a number each that is at least the `count`-th largest of their largest: what is smaller
    comes too late, and only blocks with such a number need be looked into.
    """
    highest = values if len(values) % _BLOCK else values.view(-1, _BLOCK).amax(dim=1)
    if len(highest) < count:
        highest = values
    least = torch.topk(highest, count).values[-1]
    ids = torch.nonzero(highest >= least).flatten()
    if highest is not values:
        ids = (ids[:, None] * _BLOCK + torch.arange(_BLOCK, device=ids.device)).flatten()
        ids = ids[values[ids] >= least]
    found, order = torch.sort(values[ids], descending=True, stable=True)
    return found[:count], ids[order[:count]]
