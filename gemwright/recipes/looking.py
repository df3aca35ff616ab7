"""The lesson between two readings of the album: to find in a picture what a question names.

As with texts (`lessons`), what a mixture of everything teaches late or not at all is learnt soon where little else can
be learnt. A decoder that describes pictures well from left to right may still answer what it is asked with any of the
things that it sees, and count them all whatever is to be counted; a few hundred steps end that (docs/log.md).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy

from gemwright.image.picture import picture as known
from gemwright.image.resize import square
from gemwright.recipes.album import record, write
from gemwright.tasks.pictures import compose
from gemwright.tasks.pictures.draw import draw
from gemwright.tasks.pictures.more import Pair, counts, existences, look_ups, places, relations
from gemwright.tasks.pictures.scene import SHAPES, Scene
from gemwright.tasks.split import side_of

_PICTURES = 44  # that a step reads
# What is asked about a picture, how often, and how many things it has at least and at most.
_ASKED: tuple[tuple[Callable[[random.Random, Scene], list[Pair]], int, tuple[int, int]], ...] = (
    (counts, 30, (1, 6)),
    (relations, 25, (2, 4)),
    (places, 20, (2, 5)),
    (look_ups, 15, (2, 5)),
    (existences, 10, (1, 4)),
)
_DIFFER = (places, look_ups)  # need things that share neither shape nor colour


def prepare(path: Path, *, seed: int, steps: int, side: int) -> Path:
    """The file of what so many steps read, drawn if it is not there. Raises `UserError` where it cannot be written."""
    if not path.exists():
        write(path, itertools.islice(records(seed, side), _PICTURES * steps))
    return path


def records(seed: int, side: int) -> Iterator[dict[str, Any]]:
    """Conversations as `album` writes them, without end, about pictures of the training side: one kind of question a
    picture, a few times."""
    generator = random.Random(f"looking {seed}")
    while True:
        (ask, _, (least, most)), *_ = generator.choices(_ASKED, [often for _, often, _ in _ASKED])
        scene = _scene(generator, generator.randint(least, most), differ=ask in _DIFFER)
        turns = ask(generator, scene)
        if turns and side_of(f"picture {scene.content()}") == "train":
            seen = square(known(numpy.asarray(draw(scene)), "picture"), side)
            yield record(turns, [seen], scene.to_json())


def _scene(generator: random.Random, count: int, *, differ: bool) -> Scene:
    """Things that all `differ` in shape and in colour, or such of few shapes and colours that there is much to tell
    apart."""
    background, colours = compose.palette(generator)
    if differ:
        kinds = list(zip(generator.sample(SHAPES, count), generator.sample(colours, count), strict=True))
    else:
        shapes = generator.sample(SHAPES, generator.randint(1, 3))
        kinds = compose.kinds(generator, count, shapes, colours[: generator.randint(1, 4)])
    return compose.scatter(generator, background, kinds)
