"""Steps of answers about pictures: true of the scene, and they come to the answer."""

from __future__ import annotations

import itertools
import random
import re

import pytest

from gemwright.tasks.judging import final, final_number
from gemwright.tasks.pictures.questions import TASKS, where
from gemwright.tasks.pictures.scene import COLOURS, SHAPES, Scene, Thing
from gemwright.tasks.pictures.wording import SPOKEN
from gemwright.tasks.pictures.worked import compared, counted


def _thing(x: int, y: int, colour: str = "red", shape: str = "star") -> Thing:
    return Thing(shape=shape, colour=colour, size="small", x=x, y=y, radius=4)


def test_to_count_is_to_go_through_what_is_there_as_one_reads() -> None:
    things = (_thing(85, 50), _thing(50, 90, "blue", "heart"), _thing(10, 10), _thing(30, 5, "green", "cross"))
    scene = Scene(width=100, height=100, background="white", things=things)
    told = ("red star top left", "green cross top left", "red star middle right", "blue heart bottom centre")

    def steps(*numbers: int) -> str:
        listed = ", ".join(f"{thing} {number}" for thing, number in zip(told, numbers, strict=True))
        return f"{listed}\n= {numbers[-1]}"

    assert counted(scene, things) == steps(1, 2, 3, 4)
    assert counted(scene, (things[0], things[2])) == steps(1, 1, 2, 2)
    assert counted(scene, (things[1],)) == steps(0, 0, 0, 1) and counted(scene, ()) == steps(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (0.29, 0.71, "red star 2 < blue heart 7\n= left"),
        (0.9, 0.05, "red star 9 > blue heart 0\n= left"),
        (0.5, 0.59, "red star 5 = blue heart 5\n= left"),
    ],
)
def test_what_is_compared_is_measured_in_tenths(one: float, other: float, said: str) -> None:
    assert compared(("red star", one), ("blue heart", other), "left") == said


@pytest.mark.parametrize("task", ["count", "count_many", "count_colour", "count_all"])
def test_each_step_adds_what_is_asked_for(task: str) -> None:
    for number in range(60):
        item = TASKS[task](random.Random(number))
        scene, question = Scene.from_json(item.check["scene"]), item.messages[-1].text
        steps = re.findall(r"(\w+) (\w+) \w+ \w+ (\d)", item.ideal.partition("\n=")[0])
        assert sorted((colour, shape) for colour, shape, _ in steps) == sorted(
            (thing.colour, thing.shape) for thing in scene.things
        )
        marks = [int(after) - int(before) for (*_, before), (*_, after) in itertools.pairwise([("0",), *steps])]
        if task == "count_colour":
            fitting = [colour in question for colour, _, _ in steps]
        else:
            fitting = [task == "count_all" or _asked_for(shape, question) for _, shape, _ in steps]
        assert marks == fitting
        assert final_number(item.ideal) == item.check["number"]


def _asked_for(shape: str, question: str) -> bool:
    """Does a question name things of this shape, in any language?"""
    words = re.findall(r"\w+", question.lower())
    return any(language.nouns[shape].many.lower() in words for language in SPOKEN.values())


def test_a_relation_is_measured_where_the_things_are() -> None:
    pattern = rf"the ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
    for number in range(100):
        item = TASKS["relation"](random.Random(number))
        scene = Scene.from_json(item.check["scene"])
        kinds = [(shape, colour) for colour, shape in re.findall(pattern, item.messages[-1].text.lower())]
        things = [next(one for one in scene.things if (one.shape, one.colour) == kind) for kind in kinds]
        axis = "x" if final(item.ideal) in ("left", "right") else "y"
        told = re.fullmatch(r"(\w+ \w+) (\d) ([<>]) (\w+ \w+) (\d)", item.ideal.split("\n")[0])
        assert told is not None
        one, first, sign, other, second = told.groups()
        assert [one, other] == [f"{colour} {shape}" for shape, colour in kinds]
        assert [int(first), int(second)] == [int(10 * where(axis, thing, scene)) for thing in things]
        assert sign == ("<" if final(item.ideal) in ("left", "above") else ">")
