"""Every way to run tokens through our model: at once, in pieces, one by one, several sequences together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gemwright.cache.allocate import allocate
from gemwright.nn.decoder import Decoder
from gemwright.nn.head import Head
from gemwright.ops.span import span


def _logits(hidden: Tensor, head: Head) -> Tensor:
    return head.logits(hidden)


def packed(model: Decoder, texts: Sequence[Tensor]) -> list[Tensor]:
    """All texts as documents of one pass without memory → logits `[N, V]` of each."""
    lengths = [len(text) for text in texts]
    with torch.no_grad():
        out = model(torch.cat(list(texts)), span(lengths), use=_logits)
    return list(out.split(lengths))


def stepped(model: Decoder, texts: Sequence[Tensor], steps: Sequence[Sequence[int]], slack: int = 4) -> list[Tensor]:
    """Several sequences through one cache → logits `[N, V]` of each.

    `steps[i][j]`: how many tokens of sequence j the i-th step brings; a sequence with none sits the step out.
    """
    longest = max(len(text) for text in texts)
    cache = allocate(model.spec, sequences=len(texts), tokens=longest, slack=slack, dtype=model.dtype)
    handles = [cache.open() for _ in texts]
    parts: list[list[Tensor]] = [[] for _ in texts]
    for step in steps:
        present = [index for index, length in enumerate(step) if length]
        lengths = [step[index] for index in present]
        memory = cache.prepare([handles[index] for index in present], lengths)
        ids = [
            texts[index][handles[index].length : handles[index].length + length]
            for index, length in zip(present, lengths, strict=True)
        ]
        out = model(torch.cat(ids), memory.span, memory, use=_logits)
        memory.commit()
        for index, part in zip(present, out.split(lengths), strict=True):
            parts[index].append(part)
    assert [handle.length for handle in handles] == [len(text) for text in texts]
    return [torch.cat(part) for part in parts]


def pieces(total: int, seed: int, longest: int) -> list[int]:
    """`total` cut into random pieces of 1 to `longest`."""
    generator = torch.Generator().manual_seed(seed)
    cut: list[int] = []
    while (left := total - sum(cut)) > 0:
        cut.append(min(left, int(torch.randint(1, longest + 1, (), generator=generator))))
    return cut


def ragged(lengths: Sequence[int], seed: int, longest: int) -> list[list[int]]:
    """Steps in which every sequence brings a number of tokens of its own, 0 to `longest`, until all are through."""
    generator = torch.Generator().manual_seed(seed)
    steps: list[list[int]] = []
    left = list(lengths)
    while any(left):
        drawn = torch.randint(0, longest + 1, (len(left),), generator=generator).tolist()
        step = [min(have, length) for have, length in zip(left, drawn, strict=True)]
        if any(step):
            steps.append(step)
            left = [have - length for have, length in zip(left, step, strict=True)]
    return steps
