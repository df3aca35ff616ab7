"""The lesson of cut pictures: small print that only its crops show, and crops of much else that needs none.

The album cuts few pictures: whoever is asked without pan & scan should not have learnt to wait for crops. A model made
from it alone takes nothing from them. After a few hundred steps of this lesson it does (docs/log.md).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemwright.recipes import album
from gemwright.tasks.item import Item
from gemwright.tasks.pictures.questions import written
from gemwright.tasks.split import draw

_SMALL = 0.35  # of the conversations: about small print
_CUT = 0.25  # of the others, if the picture is wide or tall


def small_print(random: random.Random) -> Item:
    """A small text in a picture four times as wide as high. Made 96 pixels wide it leaves a letter up to 4 of them, of
    which nobody reads one; pan & scan leaves it 10 to 15, and no crop cuts the text."""
    ratio = random.uniform(3.6, 4.4)
    letter = random.uniform(0.030, 0.89 / (6 * ratio))  # six letters fit into a crop
    return written("small_print", random, ratio=ratio, letter=letter, height=random.randint(128, 200))


def prepare(path: Path, *, seed: int, count: int, side: int) -> Path:
    """The file of `count` conversations, drawn if it is not there. Raises `UserError` where it cannot be written."""
    if not path.exists():
        album.write(path, itertools.islice(records(seed, side), count))
    return path


def records(seed: int, side: int) -> Iterator[dict[str, Any]]:
    """Conversations as `album` writes them, without end, about pictures of the training side."""
    generator, others = random.Random(f"cutting {seed}"), album.drawn(seed)
    while True:
        if generator.random() < _SMALL:
            yield album.conversation(draw(small_print, "train", generator), side, generator, 1.0)
        else:
            yield album.conversation(next(others), side, generator, _CUT)
