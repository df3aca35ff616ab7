"""A small sibling of the pocket model, for experiments that train many: a Gemma 3 of 1.8 million parameters."""

from __future__ import annotations

from pathlib import Path

from gemwright.recipes import family
from gemwright.recipes.family import make
from gemwright.train.run import Run

__all__ = ["make", "sibling"]


def sibling(out: str | Path) -> Run:
    """The run in the folder `out`; the curriculum is `curriculum` beside it. Raises `UserError` where `out` is no
    path."""
    return family.run_of("sibling", family.sibling(), out, steps=1000, rate=4e-3)
