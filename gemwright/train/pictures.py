"""How a run looks at pictures, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """`tower`: the encoder that makes soft tokens of pictures is trained along ("tuned"), or stays as it is
    ("frozen"). `embeddings`: the folder of what a frozen one made ahead (`gemwright encode`), which is read instead of
    the pictures (None: they are encoded as they come).

    The tower is that of `Run.start`; where a run begins with fresh weights a tuned one does, too.
    """

    tower: Literal["frozen", "tuned"]
    embeddings: str | None


FROZEN = Pictures(tower="frozen", embeddings=None)  # what a setting changes where a run looks at no pictures


def problem(pictures: Pictures, *, tokens: int | None, row: int, start: str | None, other: str | None) -> str:
    """Why this makes no run, or nothing. `tokens`: of a picture in the model (None: it has no tower); `row`: tokens of
    a packed row; `start`: what the run begins with; `other`: the name of a part that knows no pictures and is there."""
    if tokens is None:
        return "the model has no vision tower"
    if other is not None:
        return f"{other} knows no pictures yet: do without the one or the other"
    if pictures.tower == "tuned" and pictures.embeddings is not None:
        return "a tower that is tuned makes its own embeddings: none are read from a folder"
    if pictures.tower == "frozen" and pictures.embeddings is None and start is None:
        return "a frozen tower needs a model to start from; fresh ones are tuned"
    if tokens + 2 > row:
        return f"a picture takes {tokens} tokens and two marks, and data.row is {row}"
    return ""
