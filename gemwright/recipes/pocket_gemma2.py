"""The pocket model as a Gemma 2."""

from __future__ import annotations

from pathlib import Path

from gemwright.recipes import family
from gemwright.recipes.family import make
from gemwright.train.run import Run

__all__ = ["make", "pocket_gemma2"]


def pocket_gemma2(out: str | Path) -> Run:
    """The run in the folder `out`; the curriculum is `curriculum` beside it. Raises `UserError` where `out` is no
    path."""
    return family.run_of("pocket_gemma2", family.pocket_gemma2(), out, steps=4000, rate=0.003)
