"""Full descriptions of pictures."""

from __future__ import annotations

import random
import re

import pytest

from gemwright.tasks.pictures.describe import DESCRIBE, asked, described
from gemwright.tasks.pictures.questions import TASKS
from gemwright.tasks.pictures.scene import Bar, Scene, Thing, Word


def _thing(shape: str, x: int, y: int) -> Thing:
    return Thing(shape=shape, colour="red", size="small", x=x, y=y, radius=5)


def test_things_come_in_the_order_of_reading_each_with_its_ninth() -> None:
    things = (_thing("star", 80, 20), _thing("heart", 50, 50), _thing("circle", 10, 80), _thing("cross", 20, 10))
    told = described(Scene(width=90, height=90, background="white", things=things))
    assert told == (
        "small red cross top left, small red star top right, small red heart middle centre, "
        "small red circle bottom left, on white"
    )


def test_bars_come_with_their_values_and_texts_letter_by_letter() -> None:
    bars = (Bar(colour="red", value=3), Bar(colour="blue", value=9))
    assert described(Scene(width=9, height=9, background="grey", bars=bars)) == "red bar 3, blue bar 9, on grey"
    word = Word(text="DOG7", colour="black", x=1, y=1, height=5)
    assert described(Scene(width=99, height=9, background="white", words=(word,))) == "black D O G 7, on white"


@pytest.mark.parametrize("task", ["shape", "count_many", "chart_value", "word_at"])
def test_all_that_a_picture_holds_is_told(task: str) -> None:
    for number in range(30):
        scene = Scene.from_json(TASKS[task](random.Random(number)).check["scene"])
        told = described(scene)
        *parts, behind = told.split(", ")
        assert behind == f"on {scene.background}"
        assert len(parts) == len(scene.things) + len(scene.bars) + len(scene.words)
        for thing in scene.things:
            assert re.search(rf"{thing.size} {thing.colour} {thing.shape}", told)


def test_it_is_asked_for_in_several_ways() -> None:
    assert {asked(random.Random(number)) for number in range(60)} == set(DESCRIBE)
