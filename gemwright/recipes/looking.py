"""The lesson between two readings of the album: to find in a picture what a question names.

As with texts (`lessons`), what a mixture of everything teaches late or not at all is learnt soon where little else can
be learnt. A decoder that describes pictures well from left to right may still answer what it is asked with any of the
things that it sees, and count them all whatever is to be counted; a few hundred steps end that (docs/log.md).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy

from gemwright.image.picture import picture as known
from gemwright.image.resize import square
from gemwright.recipes.album import conversation, drawn, record, write
from gemwright.tasks.pictures import compose, describe
from gemwright.tasks.pictures.draw import draw
from gemwright.tasks.pictures.more import look_ups
from gemwright.tasks.pictures.scene import SHAPES, Scene
from gemwright.tasks.split import side_of

_PICTURES = 44  # that a step reads
_LOOK_UPS = 0.5  # of the pictures; the others are asked about as in the album, but for this:
_ASKED = {"count": 5, "count_colour": 4, "place": 2, "relation": 4, "exists": 2}
_MOST = 5  # things of a picture
_TOLD = 0.5  # of the pictures of look-ups are described as well


def prepare(path: Path, *, seed: int, steps: int, side: int) -> Path:
    """The file of what so many steps read, drawn if it is not there. Raises `UserError` where it cannot be written."""
    if not path.exists():
        write(path, itertools.islice(records(seed, side), _PICTURES * steps))
    return path


def records(seed: int, side: int) -> Iterator[dict[str, Any]]:
    """Conversations as `album` writes them, without end, about pictures of the training side. Half of them are
    look-ups: two to five things, no two of a shape or a colour, and for each one question, which colour it has or which
    shape; every other one of them is described at the end: before the questions it would be a text to read the answers
    from. The other half is counting, and where what is named lies."""
    generator = random.Random(f"look-ups {seed}")
    asked = drawn(seed + 1, _ASKED)  # others than the album's
    while True:
        if generator.random() >= _LOOK_UPS:
            yield conversation(next(asked), side, generator)
            continue
        scene = _scene(generator)
        if side_of(f"picture {scene.content()}") == "train":
            told = [(describe.asked(generator), describe.described(scene))] if generator.random() < _TOLD else []
            seen = square(known(numpy.asarray(draw(scene)), "picture"), side)
            yield record([*look_ups(generator, scene), *told], [seen], scene.to_json())


def _scene(generator: random.Random) -> Scene:
    count = generator.randint(2, _MOST)
    background, colours = compose.palette(generator)
    kinds = list(zip(generator.sample(SHAPES, count), generator.sample(colours, count), strict=True))
    return compose.scatter(generator, background, kinds)
