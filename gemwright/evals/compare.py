"""How far one model's predictions are from another's: what rounding its weights has cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from gemwright.nn.decoder import Decoder
from gemwright.nn.head import Head
from gemwright.ops.span import span

_CHUNK_BYTES = 16 << 20  # of one model's float32 logits held at a time: a handful of such arrays exist at once


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Of the next tokens of a text, mean over `tokens` predictions.

    `kl`: KL(original || other) in nats, `kl_99` its 99th percentile. `perplexity` of each on the text (infinite where
    it leaves the numbers). `agreement`: the share of predictions whose likeliest token is the same.
    """

    tokens: int
    kl: float
    kl_99: float
    original_perplexity: float
    perplexity: float
    agreement: float


def windows(ids: Sequence[int], size: int, bos: int | None) -> list[list[int]]:
    """A text cut into windows of at most `size` tokens that are read on their own, each with `bos` in front if there is
    one. A last window without a token to predict is left out. Raises `ValueError` for windows of fewer than 3 tokens.
    """
    if size < 3:
        raise ValueError(f"windows of {size} tokens predict too little")
    lead = [] if bos is None else [bos]
    rest = list(ids[1:] if lead and ids[:1] == lead else ids)
    step = size - len(lead)
    cut = [lead + rest[start : start + step] for start in range(0, len(rest), step)]
    return [window for window in cut if len(window) > 1]


def compare(
    original: Decoder, other: Decoder, texts: Iterable[Sequence[int]], on_text: Callable[[int], None] | None = None
) -> Comparison:
    """Both models, on one device, on the same texts, each a list of ids that is read on its own in one pass.

    The logits are made and dropped a few rows at a time. `on_text` is told the number of tokens predicted so far.
    Raises `ValueError` for models of different vocabularies, and where there is nothing to predict.
    """
    if original.spec.vocab != other.spec.vocab:
        raise ValueError(f"vocabularies of {original.spec.vocab} and {other.spec.vocab} cannot be compared")
    parts: list[Tensor] = []
    for text in texts:
        parts += _both(original, other, torch.tensor(text, dtype=torch.int64, device=original.device))
        if on_text is not None:
            on_text(sum(part.shape[1] for part in parts))
    if not parts or not sum(part.shape[1] for part in parts):
        raise ValueError("no text has a token to predict")
    kl, ours, theirs, same = torch.cat(parts, dim=1)
    return Comparison(
        tokens=len(kl),
        kl=float(kl.mean()),
        kl_99=float(kl.quantile(0.99)),
        original_perplexity=_exp(-float(ours.mean())),
        perplexity=_exp(-float(theirs.mean())),
        agreement=float(same.mean()),
    )


def _exp(mean: float) -> float:
    return math.exp(mean) if mean < 700 else math.inf


@torch.no_grad()
def _both(original: Decoder, other: Decoder, ids: Int64[Tensor, " N"]) -> list[Float64[Tensor, "4 M"]]:
    """The differences of all predictions of a text, in pieces."""
    rows, where = max(1, _CHUNK_BYTES // (4 * original.spec.vocab)), span([len(ids)], device=ids.device)

    def inner(first: Tensor, first_head: Head, second: Tensor, second_head: Head) -> list[Tensor]:
        pieces = zip(first[:-1].split(rows), second[:-1].split(rows), ids[1:].split(rows), strict=True)
        return [_differences(first_head.logits(one), second_head.logits(two), targets) for one, two, targets in pieces]

    def outer(first: Tensor, first_head: Head) -> list[Tensor]:
        return other(ids, where, use=lambda second, head: inner(first, first_head, second, head))

    return original(ids, where, use=outer)


def _differences(
    one: Float[Tensor, "M V"], two: Float[Tensor, "M V"], targets: Int64[Tensor, " M"]
) -> Float64[Tensor, "4 M"]:
    """Of each row: KL(one || two), the target's log-probability in both, 1 where the likeliest token is the same."""
    same = one.argmax(1) == two.argmax(1)
    ours, theirs = one.log_softmax(1), two.log_softmax(1)
    at = targets[:, None]
    picked = ours.gather(1, at)[:, 0], theirs.gather(1, at)[:, 0]
    # Where `one` gives no probability at all, the term is 0 whatever `two` says.
    kl = torch.where(ours.isneginf(), 0.0, ours.exp() * (ours - theirs)).sum(1, dtype=torch.float64)
    return torch.stack([kl, *(values.double() for values in picked), same.double()])
