"""Answers with their steps, as sums have them: what is counted is pointed at, one after the other, and what is compared
is measured first."""

from __future__ import annotations

from collections.abc import Iterable

from gemwright.tasks.pictures.describe import in_order, third
from gemwright.tasks.pictures.scene import Scene, Thing


def counted(scene: Scene, things: Iterable[Thing]) -> str:
    """How many things these are: "top left 1, middle right 2" and, on a line of its own, "= 2"; in the order in which
    one reads."""
    steps = [f"{third(scene, thing)} {number}" for number, thing in enumerate(in_order(scene, things), start=1)]
    return "\n".join([*([", ".join(steps)] if steps else []), f"= {len(steps)}"])


def compared(one: float, other: float, answer: str) -> str:
    """What follows from two places on an axis, from 0 to 1, told in tenths: "2 < 7" and then "= left"."""
    first, second = int(10 * one), int(10 * other)
    sign = "<" if first < second else ">" if first > second else "="
    return f"{first} {sign} {second}\n= {answer}"
