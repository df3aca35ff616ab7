"""The picture that ships with the package."""

from __future__ import annotations

import numpy
from PIL import Image

from gemwright.recipes.demo import FILE, SCENE
from gemwright.tasks.pictures.draw import draw
from gemwright.tasks.split import side_of


def test_it_is_the_scene_that_is_told_of_it_and_small() -> None:
    assert numpy.array_equal(numpy.asarray(Image.open(FILE)), numpy.asarray(draw(SCENE)))
    assert FILE.stat().st_size < 8192


def test_no_training_sees_a_picture_with_this_content() -> None:
    assert side_of(f"picture {SCENE.content()}") == "test"
