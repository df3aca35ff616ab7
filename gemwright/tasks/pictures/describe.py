"""What is in a picture, told in full: in English, in the order in which one reads."""

from __future__ import annotations

import random
from collections.abc import Iterable

from gemwright.tasks.pictures.scene import Scene, Thing

DESCRIBE = (
    "Describe the picture.",
    "What is in the picture?",
    "Tell me everything that you see.",
    "List what the picture shows.",
)
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


def described(scene: Scene) -> str:
    """Things by thirds of the picture from the top left, as "large red circle top left"; bars from left to right with
    their values, as "red bar 7"; texts letter by letter, as "red D O G"; and what is behind them."""
    things = [_told(scene, thing) for thing in in_order(scene, scene.things)]
    bars = [f"{bar.colour} bar {bar.value}" for bar in scene.bars]
    words = [f"{word.colour} {' '.join(word.text)}" for word in scene.words]
    return f"{', '.join(things + bars + words)}, on {scene.background}"


def asked(generator: random.Random) -> str:
    """A question that `described` answers."""
    return generator.choice(DESCRIBE)


def in_order(scene: Scene, things: Iterable[Thing]) -> list[Thing]:
    """Things of a scene by thirds of the picture, from the top left, as one reads."""
    return sorted(things, key=lambda thing: (*_cell(scene, thing), thing.x))


def third(scene: Scene, thing: Thing) -> str:
    """Where a thing is: "top left", and so on to "bottom right"."""
    row, column = _cell(scene, thing)
    return f"{_ROWS[row]} {_COLUMNS[column]}"


def _cell(scene: Scene, thing: Thing) -> tuple[int, int]:
    return 3 * thing.y // scene.height, 3 * thing.x // scene.width


def _told(scene: Scene, thing: Thing) -> str:
    return f"{thing.size} {thing.colour} {thing.shape} {third(scene, thing)}"
