"""The pocket family's teacher: a Gemma 3 of 21 million parameters."""

from __future__ import annotations

from pathlib import Path

from gemwright.recipes import family
from gemwright.recipes.family import make
from gemwright.train.run import Run

__all__ = ["make", "teacher"]


def teacher(out: str | Path) -> Run:
    """The run in the folder `out`; the curriculum is `curriculum` beside it. Raises `UserError` where `out` is no
    path."""
    return family.run_of("teacher", family.teacher(), out, steps=2000, rate=0.0015)
