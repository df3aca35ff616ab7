"""The oldest language model: how often a token followed the few before it. What a network must beat to have learnt.

The probability of a token is interpolated from long contexts to short ones by Witten and Bell's rule ("The
zero-frequency problem", 1991): a context that was seen n times, with t different tokens after it, keeps t / (n + t)
for what the next shorter context says; below the single tokens all are equally likely.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

_Context = tuple[int, ...]


class NGram:
    """Counts of contexts of 0 to `order - 1` tokens and of what followed. Learns as it goes; a page of Python."""

    def __init__(self, vocab: int, order: int) -> None:
        """`order` 1 counts single tokens, 2 pairs, 3 triples. Raises `ValueError` for less than 1."""
        if order < 1 or vocab < 1:
            raise ValueError(f"an n-gram model of order {order} over {vocab} tokens says nothing")
        self.order = order
        self.tokens = 0  # learnt so far
        self._vocab = vocab
        self._followers: dict[_Context, dict[int, int]] = {}
        self._seen: dict[_Context, int] = {}

    def learn(self, ids: Sequence[int], first: int = 1) -> None:
        """Counts `ids[first:]` behind what stands before each of them."""
        for at in range(first, len(ids)):
            self._count(ids, at)

    def nats(self, ids: Sequence[int]) -> list[float]:
        """What the tokens `ids[1:]` cost together, in nats, by contexts of 0, of at most 1, ... tokens: `order` sums.

        Each token is learnt after it was predicted, so a text is scored by what came before it alone, wherever the
        counts began.
        """
        sums = [0.0] * self.order
        for at in range(1, len(ids)):
            for order, probability in enumerate(self._probabilities(ids, at)):
                sums[order] -= math.log(probability)
            self._count(ids, at)
        return sums

    def go_on(self, ids: Sequence[int], most: int, ends: Collection[int]) -> list[int]:
        """The likeliest continuation, token by token, up to and without one of `ends`, of `most` tokens at most.

        Each token is the most frequent one behind the longest context that was ever seen (the first seen of equals).
        """
        out = list(ids)
        for _ in range(most):
            token = self._likeliest(out)
            if token is None or token in ends:
                break
            out.append(token)
        return out[len(ids) :]

    def _count(self, ids: Sequence[int], at: int) -> None:
        self.tokens += 1
        for length in range(min(self.order - 1, at) + 1):
            context = tuple(ids[at - length : at])
            followers = self._followers.setdefault(context, {})
            followers[ids[at]] = followers.get(ids[at], 0) + 1
            self._seen[context] = self._seen.get(context, 0) + 1

    def _probabilities(self, ids: Sequence[int], at: int) -> list[float]:
        """Of `ids[at]`, by contexts of 0, 1, ... tokens; an unseen context says what the shorter one says."""
        found, probability = [], 1 / self._vocab
        for length in range(self.order):
            context = tuple(ids[at - length : at]) if length <= at else None
            if context is not None and (followers := self._followers.get(context)):
                seen, kinds = self._seen[context], len(followers)
                probability = (followers.get(ids[at], 0) + kinds * probability) / (seen + kinds)
            found.append(probability)
        return found

    def _likeliest(self, ids: Sequence[int]) -> int | None:
        for length in range(min(self.order - 1, len(ids)), -1, -1):
            followers = self._followers.get(tuple(ids[len(ids) - length :]))
            if followers:
                return max(followers, key=lambda token: followers[token])
        return None
