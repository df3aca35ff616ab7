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
from typing import Any, NamedTuple

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


class _Asked(NamedTuple):
    """What is asked about a picture, and how `often`. It has `least` to `most` things; do all shapes and colours
    `differ`?"""

    ask: Callable[[random.Random, Scene], list[Pair]]
    often: int
    least: int
    most: int
    differ: bool = False


_ASKED = (
    _Asked(counts, 30, 1, 6),
    _Asked(relations, 25, 2, 4),
    _Asked(places, 20, 2, 5, differ=True),
    _Asked(look_ups, 15, 2, 5, differ=True),
    _Asked(existences, 10, 1, 4),
)


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
        (kind,) = generator.choices(_ASKED, [each.often for each in _ASKED])
        scene = _scene(generator, generator.randint(kind.least, kind.most), differ=kind.differ)
        turns = kind.ask(generator, scene)
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
