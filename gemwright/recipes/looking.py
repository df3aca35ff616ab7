"""The lessons before the album: to find in a picture what a question names, then to count and to compare.

As with texts (`lessons`), what a mixture of everything teaches late or not at all is learnt soon where nothing else can
be learnt. A decoder that describes pictures well from left to right may still answer what it is asked with any of the
things that it sees; a few hundred steps of nothing but looking up end that (docs/log.md).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy

from gemwright.image.picture import picture as known
from gemwright.image.resize import square
from gemwright.recipes.album import record
from gemwright.tasks.pictures import compose, describe
from gemwright.tasks.pictures.draw import draw
from gemwright.tasks.pictures.more import Pair, figures, look_ups
from gemwright.tasks.pictures.scene import SHAPES, Scene
from gemwright.tasks.split import side_of

_TOLD = 0.5  # of the pictures are described as well
_MOST = 5  # things of a picture of look-ups
_FIGURES = 6  # things of one to count in; so many that things of one shape or colour come again
_QUESTIONS = 9  # about one of the latter


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """`draw`: scenes with their questions, from a seed, without end. `steps` of training, `pictures` read in each."""

    name: str
    draw: Callable[[int], Iterator[tuple[Scene, list[Pair]]]]
    steps: int
    pictures: int


def distinct(seed: int) -> Iterator[tuple[Scene, list[Pair]]]:
    """Two to five things, no two of a shape or a colour; for each one question, which colour it has or which shape."""
    generator = random.Random(f"look-ups {seed}")
    while True:
        count = generator.randint(2, _MOST)
        background, colours = compose.palette(generator)
        kinds = list(zip(generator.sample(SHAPES, count), generator.sample(colours, count), strict=True))
        scene = compose.scatter(generator, background, kinds)
        yield scene, look_ups(generator, scene)


def alike(seed: int) -> Iterator[tuple[Scene, list[Pair]]]:
    """Two to six things of few shapes and few colours: how many there are of which, what is where, and beside what."""
    generator = random.Random(f"figures {seed}")
    while True:
        background, colours = compose.palette(generator)
        shapes = generator.sample(SHAPES, generator.randint(1, 3))
        kinds = compose.kinds(generator, generator.randint(2, _FIGURES), shapes, colours[: generator.randint(2, 4)])
        scene = compose.scatter(generator, background, kinds)
        yield scene, figures(generator, scene, _QUESTIONS)


LESSONS = (
    Lesson(name="look-ups", draw=distinct, steps=500, pictures=34),
    Lesson(name="figures", draw=alike, steps=500, pictures=13),
)


def records(lesson: Lesson, *, seed: int, side: int) -> Iterator[dict[str, Any]]:
    """What a lesson reads, as `album` writes it, without end; half of the pictures are described at the end. Pictures
    of the training side."""
    generator = random.Random(f"{lesson.name} {seed} told")
    for scene, turns in lesson.draw(seed):
        if side_of(f"picture {scene.content()}") == "train":
            # Behind the questions: before them it would be a text to read the answers from.
            told = [(describe.asked(generator), describe.described(scene))] if generator.random() < _TOLD else []
            seen = square(known(numpy.asarray(draw(scene)), "picture"), side)
            yield record([*turns, *told], [seen], scene.to_json())
