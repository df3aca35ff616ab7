"""The pocket model: a Gemma 3 of 5.8 million parameters, from scratch or from a teacher."""

from __future__ import annotations

from pathlib import Path

from gemwright.recipes import family
from gemwright.recipes.family import make
from gemwright.train.run import Run

__all__ = ["make", "pocket"]


def pocket(out: str | Path) -> Run:
    """The run in the folder `out`; the curriculum is `curriculum` beside it. Raises `UserError` where `out` is no
    path."""
    return family.run_of("pocket", family.pocket(), out, steps=8000, rate=0.003)
