"""Answers with their steps, as sums have them: to count, one goes through all that is there, as if to describe it, and
says how many fit so far; what is compared is measured first."""

from __future__ import annotations

from gemwright.tasks.pictures.describe import in_order, third
from gemwright.tasks.pictures.scene import COLOURS, Scene, Thing

ALL = "all"  # what is counted where every thing is


def fits(thing: Thing, what: str) -> bool:
    """Is a thing of the shape or the colour `what`, or are `ALL` meant?"""
    return what in (ALL, thing.shape, thing.colour)


def counted(scene: Scene, what: str) -> str:
    """How many things of the scene fit `what`: "star: top left red circle -, middle right blue star 1" and, on a line
    of its own, "= 1"; in the order in which one reads. What decides stands before its mark: "red: top left circle red
    1"."""
    steps, number = [], 0
    for thing in in_order(scene, scene.things):
        number += fits(thing, what)
        name = f"{thing.shape} {thing.colour}" if what in COLOURS else thing.name
        steps.append(f"{third(scene, thing)} {name} {number if fits(thing, what) else '-'}")
    return f"{what}: {', '.join(steps)}\n= {number}"


def compared(scene: Scene, axis: str, one: Thing, other: Thing, answer: str) -> str:
    """What follows from where two things are: the third of the picture, and on the axis that is asked about tenths, as
    "red star top left 2 < blue circle middle right 7" and then "= left"."""
    first, second = (int(10 * scene.along(axis, thing)) for thing in (one, other))
    sign = "<" if first < second else ">" if first > second else "="
    told = (f"{thing.name} {third(scene, thing)} {place}" for thing, place in ((one, first), (other, second)))
    return f"{f' {sign} '.join(told)}\n= {answer}"
