"""Answers with their steps, as sums have them: to count, one goes through all that is there, as if to describe it, and
says how many fit so far; what is compared is measured first."""

from __future__ import annotations

from collections.abc import Collection

from gemwright.tasks.pictures.describe import in_order, third
from gemwright.tasks.pictures.scene import Scene, Thing


def counted(scene: Scene, fitting: Collection[Thing]) -> str:
    """How many things of the scene are the ones `fitting`: "red circle top left 0, blue star middle right 1" and, on a
    line of its own, "= 1"; in the order in which one reads."""
    steps, number = [], 0
    for thing in in_order(scene, scene.things):
        number += thing in fitting
        steps.append(f"{thing.colour} {thing.shape} {third(scene, thing)} {number}")
    return f"{', '.join(steps)}\n= {number}"


def compared(one: tuple[str, float], other: tuple[str, float], answer: str) -> str:
    """What follows from where two things are on an axis, from 0 to 1, told in tenths: "red star 2 < blue circle 7" and
    then "= left"."""
    first, second = int(10 * one[1]), int(10 * other[1])
    sign = "<" if first < second else ">" if first > second else "="
    return f"{one[0]} {first} {sign} {other[0]} {second}\n= {answer}"
