"""What is in a picture, as data: things with shape, colour, size and place, the bars of a chart, written words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from gemwright.tasks.item import JSON

Colour: TypeAlias = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "white": (255, 255, 255),
    "black": (16, 16, 16),
    "red": (220, 32, 40),
    "green": (32, 160, 64),
    "blue": (40, 72, 224),
    "yellow": (248, 216, 32),
    "grey": (128, 128, 128),
}
SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "heart")
SIZES = ("small", "large")
LEVELS = 10  # the greatest value of a bar


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A shape. `x` and `y` are its centre, and it lies within `radius` of it, in pixels from the top left."""

    shape: str
    colour: str
    size: str
    x: int
    y: int
    radius: int

    @property
    def name(self) -> str:
        """What it is called: "red circle"."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar of a chart: its value, from 1 to `LEVELS`."""

    colour: str
    value: int


@dataclass(frozen=True, kw_only=True)
class Word:
    """Capitals and digits: the left end `x` and the top `y` of the first letter, its height, in pixels."""

    text: str
    colour: str
    x: int
    y: int
    height: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture of `width` times `height` pixels. It holds things, or bars from left to right, or words.

    Raises:
        ValueError: a colour or shape that there is not, a bar out of range, a picture without size.
    """

    width: int
    height: int
    background: str
    things: tuple[Thing, ...] = ()
    bars: tuple[Bar, ...] = ()
    words: tuple[Word, ...] = ()

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a picture of {self.width} by {self.height} pixels")
        drawn = (*self.things, *self.bars, *self.words)
        for colour in (self.background, *(each.colour for each in drawn)):
            if colour not in COLOURS:
                raise ValueError(f"there is no colour {colour!r}, only {', '.join(COLOURS)}")
        for thing in self.things:
            if thing.shape not in SHAPES:
                raise ValueError(f"there is no shape {thing.shape!r}, only {', '.join(SHAPES)}")
        for bar in self.bars:
            if not 1 <= bar.value <= LEVELS:
                raise ValueError(f"a bar has the value 1 to {LEVELS}, not {bar.value}")

    def to_json(self) -> dict[str, JSON]:
        """The fields by name, in JSON values."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Scene:
        """The scene that `to_json` gave the record of. Raises `ValueError` for a record that is none."""
        try:
            fields = dict(record)
            fields["things"] = tuple(Thing(**thing) for thing in record["things"])
            fields["bars"] = tuple(Bar(**bar) for bar in record["bars"])
            fields["words"] = tuple(Word(**word) for word in record["words"])
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a record of a scene: {error!r}") from error

    def along(self, axis: str, thing: Thing) -> float:
        """Where the centre of a thing is on the axis "x" or "y", from 0 to 1."""
        return thing.x / self.width if axis == "x" else thing.y / self.height

    def cell(self, thing: Thing) -> str:
        """The ninth of the picture that holds the centre of a thing: "0 0" is the top left, "2 0" the top right."""
        return f"{3 * thing.x // self.width} {3 * thing.y // self.height}"

    def content(self) -> str:
        """What one would tell of the picture: shapes, colours, sizes and ninths in which things lie, bars in order,
        words. Pictures that differ in pixels only, or in size or background, have one content."""
        things = sorted(f"{each.size} {each.colour} {each.shape} {self.cell(each)}" for each in self.things)
        bars = [f"{bar.colour} {bar.value}" for bar in self.bars]
        return ", ".join(things + bars + sorted(word.text for word in self.words))
