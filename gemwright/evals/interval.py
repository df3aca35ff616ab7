"""How far a measured number may be from the true one, 95 times out of 100."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy

_Z = 1.959963984540054  # the normal distribution has 95% of its mass within so many standard deviations
_DRAWS = 1000

Interval = tuple[float, float]


def wilson(score: float, count: int) -> Interval:
    """Of a mean of `count` scores between 0 and 1 (Wilson, "Probable inference", 1927). Exact in spirit for scores
    that are 0 or 1; where there are halves between them it is wider than it need be. Raises `ValueError` for none."""
    if count < 1 or not 0 <= score <= 1:
        raise ValueError(f"a mean of {score} over {count} items is no share")
    below = 1 + _Z**2 / count
    middle = (score + _Z**2 / (2 * count)) / below
    half = _Z * math.sqrt(score * (1 - score) / count + _Z**2 / (4 * count**2)) / below
    return (max(0.0, middle - half) if score > 0 else 0.0), (min(1.0, middle + half) if score < 1 else 1.0)


def bootstrap(totals: Sequence[float], sizes: Sequence[float], seed: int) -> Interval:
    """Of `sum(totals) / sum(sizes)`, drawing the documents again with replacement (Efron, 1979), from a seed.

    One document cannot tell how documents differ: its interval has no width. Raises `ValueError` for none.
    """
    if not totals or len(totals) != len(sizes):
        raise ValueError(f"{len(totals)} totals and {len(sizes)} sizes")
    generator = numpy.random.default_rng(seed)
    above, below = numpy.asarray(totals, dtype=float), numpy.asarray(sizes, dtype=float)
    ratios = [above[drawn].sum() / below[drawn].sum() for drawn in _draws(generator, len(above))]
    low, high = numpy.percentile(ratios, (2.5, 97.5))
    return float(low), float(high)


def _draws(generator: numpy.random.Generator, count: int) -> list[numpy.ndarray]:
    return [generator.integers(0, count, count) for _ in range(_DRAWS)]
