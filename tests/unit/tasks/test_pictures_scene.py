"""A scene is data: it survives its record, refuses nonsense, and says what is in the picture."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gemwright.tasks.pictures.scene import Bar, Scene, Thing, Word

CIRCLE = Thing(shape="circle", colour="red", size="large", x=50, y=50, radius=20)
STAR = Thing(shape="star", colour="blue", size="small", x=250, y=100, radius=12)
THINGS = Scene(width=300, height=120, background="white", things=(CIRCLE, STAR))
CHART = Scene(width=200, height=100, background="grey", bars=(Bar(colour="red", value=10), Bar(colour="blue", value=1)))
SIGN = Scene(
    width=200, height=80, background="black", words=(Word(text="OTTER", colour="white", x=9, y=8, height=20.5),)
)


@pytest.mark.parametrize("scene", [THINGS, CHART, SIGN])
def test_a_scene_survives_its_record_in_a_file(scene: Scene) -> None:
    assert Scene.from_json(json.loads(json.dumps(scene.to_json()))) == scene


def test_a_record_in_memory_equals_the_one_read_from_a_file() -> None:
    assert THINGS.to_json() == json.loads(json.dumps(THINGS.to_json()))


def test_the_content_names_things_with_the_ninth_they_lie_in() -> None:
    assert THINGS.content() == "large red circle 0 1, small blue star 2 2"


def test_the_content_tells_bars_from_left_to_right_and_words() -> None:
    assert (CHART.content(), SIGN.content()) == ("red 10, blue 1", "OTTER")


def test_the_content_leaves_out_order_pixels_background_and_the_size_of_the_picture() -> None:
    moved = replace(CIRCLE, x=CIRCLE.x + 20, radius=CIRCLE.radius + 1)
    other = Scene(width=303, height=123, background="grey", things=(STAR, moved))
    assert other != THINGS and other.content() == THINGS.content()


@pytest.mark.parametrize(
    "change", [{"shape": "heart"}, {"colour": "green"}, {"size": "small"}, {"x": 150}, {"y": 10}], ids=str
)
def test_another_thing_is_another_content(change: dict) -> None:
    assert replace(THINGS, things=(replace(CIRCLE, **change), STAR)).content() != THINGS.content()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"background": "mauve"}, "no colour 'mauve'"),
        ({"things": (replace(CIRCLE, colour="mauve"),)}, "no colour 'mauve'"),
        ({"things": (replace(CIRCLE, shape="blob"),)}, "no shape 'blob'"),
        ({"bars": (Bar(colour="red", value=11),)}, "1 to 10, not 11"),
        ({"width": 0}, "0 by 120"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(THINGS, **change)


@pytest.mark.parametrize("record", [{}, {**THINGS.to_json(), "things": [{"shape": "circle"}]}, {"things": 1}])
def test_a_record_of_something_else_is_refused(record: dict) -> None:
    with pytest.raises(ValueError, match="not a record of a scene"):
        Scene.from_json(record)
