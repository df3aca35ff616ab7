"""What loading did to a file's numbers, in words for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import torch
from torch import nn

from gemwright.weights.stream import Match, PackedSource, Source, is_rounded


def rounded(model: nn.Module, source: Source, paired: Match, matrices: Collection[str] = ()) -> list[str]:
    """A note for each dtype whose tensors lost digits on the way into the model, those of `matrices` apart."""
    paired = Match(pairs=tuple(pair for pair in paired.pairs if pair[0] not in matrices), left=paired.left)
    if isinstance(source, PackedSource):
        return _held(model, source, paired)
    lost: dict[tuple[torch.dtype, torch.dtype], list[str]] = {}
    for ours, theirs in paired.pairs:
        stored, held = source.dtype(theirs), model.get_parameter(ours).dtype
        if is_rounded(stored, held):
            lost.setdefault((stored, held), []).append(theirs)
    return [
        f"{len(names)} tensors are stored as {word(stored)} and were rounded to {word(held)}: "
        + ", ".join(names[:2])
        + (", …" if len(names) > 2 else "")
        for (stored, held), names in lost.items()
    ]


def _held(model: nn.Module, source: PackedSource, paired: Match) -> list[str]:
    """A note on the forms of packed files whose tensors are held in another."""
    found: dict[str, Counter[str]] = {}
    plain = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    for ours, theirs in paired.pairs:
        kind, held = source.kind(theirs), model.get_parameter(ours).dtype
        if kind not in plain or is_rounded(plain[kind], held):
            found.setdefault(word(held), Counter())[kind] += 1
    return [
        f"{', '.join(f'{count} {kind}' for kind, count in sorted(counts.items()))} tensors are held as {held}"
        for held, counts in found.items()
    ]


def word(dtype: torch.dtype) -> str:
    """A dtype's name: "bfloat16", …"""
    return str(dtype).removeprefix("torch.")
