"""Steps of answers about pictures: true of the scene, and they come to the answer."""

from __future__ import annotations

import random
import re

import pytest

from gemwright.tasks.judging import final, final_number
from gemwright.tasks.pictures.questions import TASKS, where
from gemwright.tasks.pictures.scene import COLOURS, SHAPES, Scene, Thing
from gemwright.tasks.pictures.worked import compared, counted


def _thing(x: int, y: int) -> Thing:
    return Thing(shape="star", colour="red", size="small", x=x, y=y, radius=4)


def test_what_is_counted_is_pointed_at_as_one_reads() -> None:
    things = (_thing(85, 50), _thing(50, 90), _thing(10, 10), _thing(30, 5))
    scene = Scene(width=100, height=100, background="white", things=things)
    assert counted(scene, things) == "top left 1, top left 2, middle right 3, bottom centre 4\n= 4"
    assert counted(scene, things[:1]) == "middle right 1\n= 1"
    assert counted(scene, ()) == "= 0"


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [(0.29, 0.71, "2 < 7\n= left"), (0.9, 0.05, "9 > 0\n= left"), (0.5, 0.59, "5 = 5\n= left")],
)
def test_what_is_compared_is_measured_in_tenths(one: float, other: float, said: str) -> None:
    assert compared(one, other, "left") == said


@pytest.mark.parametrize("task", ["count", "count_many", "count_colour", "count_all"])
def test_as_many_steps_as_things_and_where_they_are(task: str) -> None:
    for number in range(60):
        item = TASKS[task](random.Random(number))
        scene = Scene.from_json(item.check["scene"])
        steps = re.findall(r"(\w+ \w+) (\d)", item.ideal.partition("\n=")[0])
        assert [int(count) for _, count in steps] == list(range(1, item.check["number"] + 1))
        assert final_number(item.ideal) == item.check["number"]
        places = [counted(scene, [thing]).partition(" 1")[0] for thing in scene.things]
        assert not {place for place, _ in steps} - set(places)
        if task == "count_all":
            assert sorted(place for place, _ in steps) == sorted(places)


def test_a_relation_is_measured_where_the_things_are() -> None:
    pattern = rf"the ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
    for number in range(100):
        item = TASKS["relation"](random.Random(number))
        scene = Scene.from_json(item.check["scene"])
        kinds = [(shape, colour) for colour, shape in re.findall(pattern, item.messages[-1].text.lower())]
        things = [next(one for one in scene.things if (one.shape, one.colour) == kind) for kind in kinds]
        axis = "x" if final(item.ideal) in ("left", "right") else "y"
        first, sign, second = item.ideal.split("\n")[0].split()
        assert [int(first), int(second)] == [int(10 * where(axis, thing, scene)) for thing in things]
        assert sign == ("<" if final(item.ideal) in ("left", "above") else ">")
