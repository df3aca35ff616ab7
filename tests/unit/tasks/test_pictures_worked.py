"""Steps of answers about pictures: true of the scene, and they come to the answer."""

from __future__ import annotations

import random
import re

import pytest

from gemwright.tasks.judging import final, final_number
from gemwright.tasks.pictures.describe import third
from gemwright.tasks.pictures.questions import TASKS
from gemwright.tasks.pictures.scene import COLOURS, SHAPES, Scene, Thing
from gemwright.tasks.pictures.wording import SPOKEN
from gemwright.tasks.pictures.worked import compared, counted


def _thing(x: int, y: int, colour: str = "red", shape: str = "star") -> Thing:
    return Thing(shape=shape, colour=colour, size="small", x=x, y=y, radius=4)


def _scene(*things: Thing) -> Scene:
    return Scene(width=100, height=100, background="white", things=things)


def test_to_count_is_to_go_through_what_is_there_as_one_reads() -> None:
    things = (_thing(85, 50), _thing(50, 90, "blue", "heart"), _thing(10, 10), _thing(30, 5, "green", "cross"))
    scene = _scene(*things)
    assert counted(scene, "star") == (
        "star: top left red star 1, top left green cross -, middle right red star 2, bottom centre blue heart -\n= 2"
    )
    assert counted(scene, "all") == (
        "all: top left red star 1, top left green cross 2, middle right red star 3, bottom centre blue heart 4\n= 4"
    )


def test_what_decides_stands_before_its_mark() -> None:
    scene = _scene(_thing(85, 50), _thing(50, 90, "blue", "heart"))
    assert counted(scene, "blue") == ("blue: middle right star red -, bottom centre heart blue 1\n= 1")
    assert counted(scene, "green").endswith("heart blue -\n= 0")


@pytest.mark.parametrize(
    ("axis", "one", "other", "said"),
    [
        ("x", (29, 10), (71, 50), "red star top left 2 < blue heart middle right 7\n= left"),
        ("x", (90, 10), (5, 10), "red star top right 9 > blue heart top left 0\n= left"),
        ("y", (50, 50), (50, 59), "red star middle centre 5 = blue heart middle centre 5\n= left"),
        ("y", (10, 99), (90, 0), "red star bottom left 9 > blue heart top right 0\n= left"),
    ],
)
def test_what_is_compared_is_measured_in_tenths(
    axis: str, one: tuple[int, int], other: tuple[int, int], said: str
) -> None:
    scene = _scene(_thing(*one), _thing(*other, "blue", "heart"))
    assert compared(scene, axis, *scene.things, "left") == said


@pytest.mark.parametrize("task", ["count", "count_many", "count_colour", "count_all"])
def test_each_step_adds_what_is_asked_for(task: str) -> None:
    for number in range(60):
        item = TASKS[task](random.Random(number))
        scene, question = Scene.from_json(item.check["scene"]), item.messages[-1].text
        what, told = item.ideal.partition("\n=")[0].split(": ")
        steps = re.findall(r"\w+ \w+ (\w+) (\w+) ([-\d])", told)
        if task == "count_colour":
            steps = [(colour, shape, mark) for shape, colour, mark in steps]
            assert what in question
        assert sorted((colour, shape) for colour, shape, _ in steps) == sorted(
            (thing.colour, thing.shape) for thing in scene.things
        )
        fitting = [task == "count_all" or what in (colour, shape) for colour, shape, _ in steps]
        marks = iter(range(1, 9))
        assert [mark for *_, mark in steps] == [str(next(marks)) if fits else "-" for fits in fitting]
        assert final_number(item.ideal) == item.check["number"] == sum(fitting)
        assert task in ("count_colour", "count_all") or _asked_for(what, question)


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
        told = re.fullmatch(r"(\w+ \w+) (\w+ \w+) (\d) ([<>]) (\w+ \w+) (\w+ \w+) (\d)", item.ideal.split("\n")[0])
        assert told is not None
        one, at, first, sign, other, beside, second = told.groups()
        assert [one, other] == [thing.name for thing in things]
        assert [at, beside] == [third(scene, thing) for thing in things]
        assert [int(first), int(second)] == [int(10 * scene.along(axis, thing)) for thing in things]
        assert sign == ("<" if final(item.ideal) in ("left", "above") else ">")
