"""The pocket model, from scratch or from a teacher: a Gemma 3 of 5.8 million parameters."""

from __future__ import annotations

from pathlib import Path

from gemwright.recipes import family
from gemwright.recipes.family import make
from gemwright.train.run import Run

__all__ = ["make", "student"]


def student(out: str | Path) -> Run:
    """The run in the folder `out`; the curriculum is `curriculum` beside it. Raises `UserError` where `out` is no
    path."""
    return family.run_of("student", family.pocket(), out, steps=7000, rate=0.003)
