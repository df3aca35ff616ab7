"""How likely continuations are behind their contexts: many at once, in ragged passes without padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gemwright.nn.decoder import Decoder
from gemwright.nn.head import Head
from gemwright.ops.span import span

_TOKENS = 2048  # of one pass, unless a single text is longer
_CHUNK_BYTES = 32 << 20  # of float32 logits held at a time


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """`logprob`: the sum over the continuation's tokens, in nats. `greedy`: each of them is the likeliest one."""

    logprob: float
    greedy: bool


Pair = tuple[Sequence[int], Sequence[int]]


def likelihoods(
    model: Decoder, pairs: Sequence[Pair], on_done: Callable[[int], object] | None = None, tokens: int = _TOKENS
) -> list[Likelihood]:
    """Of each (context, continuation), both lists of ids; the context begins with `<bos>` if the model wants one.

    Passes hold about `tokens` tokens, from the longest texts to the shortest; a result does not depend on its
    neighbours. `on_done` is told how many pairs are done. Raises `ValueError` for an empty context or continuation.
    """
    if any(not context or not continuation for context, continuation in pairs):
        raise ValueError("a likelihood needs a context and a continuation")
    found: dict[int, Likelihood] = {}
    for batch in _batches(pairs, tokens):
        found |= zip(batch, _one_pass(model, [pairs[index] for index in batch]), strict=True)
        if on_done is not None:
            on_done(len(found))
    return [found[index] for index in range(len(pairs))]


def _batches(pairs: Sequence[Pair], tokens: int) -> Iterator[list[int]]:
    sizes = [len(context) + len(continuation) - 1 for context, continuation in pairs]
    batch: list[int] = []
    room = tokens
    for index in sorted(range(len(pairs)), key=lambda index: -sizes[index]):
        if batch and sizes[index] > room:
            yield batch
            batch, room = [], tokens
        batch.append(index)
        room -= sizes[index]
    if batch:
        yield batch


@torch.inference_mode()
def _one_pass(model: Decoder, pairs: Sequence[Pair]) -> list[Likelihood]:
    ids: list[int] = []
    rows: list[int] = []  # of the hidden states that foretell a continuation's token
    targets: list[int] = []
    for context, continuation in pairs:
        rows += range(len(ids) + len(context) - 1, len(ids) + len(context) + len(continuation) - 1)
        targets += continuation
        ids += [*context, *continuation][:-1]
    where = span([len(context) + len(continuation) - 1 for context, continuation in pairs], device=model.device)

    def use(hidden: Tensor, head: Head) -> tuple[Tensor, Tensor]:
        wanted = hidden[torch.tensor(rows, device=hidden.device)]
        return _rows(wanted, torch.tensor(targets, device=hidden.device), head, model.spec.vocab)

    logprobs, hits = model(torch.tensor(ids, dtype=torch.int64, device=model.device), where, use=use)
    parts = [len(continuation) for _, continuation in pairs]
    return [
        Likelihood(logprob=float(values.double().sum()), greedy=bool(same.all()))
        for values, same in zip(logprobs.split(parts), hits.split(parts), strict=True)
    ]


def _rows(hidden: Tensor, targets: Tensor, head: Head, vocab: int) -> tuple[Tensor, Tensor]:
    """Of hidden `[M, D]` and targets `[M]`: log-probabilities `[M]`, and whether each target is the likeliest `[M]`."""
    few = max(1, _CHUNK_BYTES // (4 * vocab))
    logprobs, hits = [], []
    for rows, wanted in zip(hidden.split(few), targets.split(few), strict=True):
        logits = head.logits(rows)
        logprobs.append(logits.log_softmax(1).gather(1, wanted[:, None])[:, 0])
        hits.append(logits.argmax(1) == wanted)
    return torch.cat(logprobs), torch.cat(hits)
