"""Scenes drawn from a seed: things that do not touch, charts, words of a wanted size."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from gemwright.tasks import words
from gemwright.tasks.pictures.alphabet import ADVANCE, HEIGHT, PEN, extent
from gemwright.tasks.pictures.scene import COLOURS, LEVELS, SHAPES, SIZES, Bar, Scene, Thing, Word

# The radius of a thing as a share of the longer side. The smallest is 13 pixels across in a picture of 112. A large
# thing has more area than a small one whatever their shapes are.
_RADII = {"small": (0.060, 0.075), "large": (0.125, 0.145)}
_LONGER = (160, 400)  # pixels of the longer side
_ASPECT = 2.5  # the longer side over the shorter one, at most, of a picture with things
_CONTRAST = 60  # of a text with its background, in 255ths
_APART = 1.08  # of two things: the distance of their centres over the sum of their radii
_TRIES = 60  # places tried for a thing before all are put down anew

Kind = tuple[str, str]  # shape and colour


def palette(random: random.Random) -> tuple[str, list[str]]:
    """A background, and the other colours in any order."""
    colours = random.sample(list(COLOURS), len(COLOURS))
    return colours[0], colours[1:]


def kinds(random: random.Random, count: int, shapes: Sequence[str], colours: Sequence[str]) -> list[Kind]:
    """So many shapes with their colours; one may come twice."""
    return [(random.choice(shapes), random.choice(colours)) for _ in range(count)]


def others(names: Sequence[str], *barred: str) -> list[str]:
    """The names without some."""
    return [name for name in names if name not in barred]


def scatter(
    random: random.Random, background: str, wanted: Sequence[Kind], sizes: Sequence[str | None] = (), aspect: float = 0
) -> Scene:
    """A picture with those things (8 at most), in that order, each in a place of its own that no other touches.

    `sizes` says how large the first ones are; the rest are small or large, or all small where there are many.
    `aspect` is width over height, from 0.4 to 2.5; 0 draws it.
    """
    assert len(wanted) <= 8, "more things than fit"
    free = SIZES if len(wanted) <= 4 else SIZES[:1]
    while True:
        width, height = _canvas(random, aspect or math.exp(random.uniform(-1, 1) * math.log(_ASPECT)))
        things: list[Thing] = []
        for place, kind in enumerate(wanted):
            size = (sizes[place] if place < len(sizes) else None) or random.choice(free)
            thing = _put(random, kind, size, things, (width, height))
            if thing is None:
                break
            things.append(thing)
        else:
            return Scene(width=width, height=height, background=background, things=tuple(things))


def _canvas(random: random.Random, aspect: float) -> tuple[int, int]:
    longer = random.randint(*_LONGER)
    return (longer, round(longer / aspect)) if aspect >= 1 else (round(longer * aspect), longer)


def _put(random: random.Random, kind: Kind, size: str, things: list[Thing], canvas: tuple[int, int]) -> Thing | None:
    radius = round(random.uniform(*_RADII[size]) * max(canvas))
    for _ in range(_TRIES):
        x, y = (random.randint(radius + 1, side - radius - 1) for side in canvas)
        if all(math.dist((x, y), (other.x, other.y)) >= _APART * (radius + other.radius) for other in things):
            return Thing(shape=kind[0], colour=kind[1], size=size, x=x, y=y, radius=radius)
    return None


def chart(random: random.Random) -> Scene:
    """Two to five bars, no two of one colour or value."""
    background = random.choice(("white", "black", "grey"))
    ink = "white" if background == "black" else "black"
    count = random.randint(2, 5)
    colours = random.sample(others(list(COLOURS), background, ink), count)
    values = random.sample(range(1, LEVELS + 1), count)
    bars = tuple(Bar(colour=colour, value=value) for colour, value in zip(colours, values, strict=True))
    width, height = _canvas(random, random.uniform(0.8, 1.8))
    return Scene(width=width, height=height, background=background, bars=bars)


def inks(background: str) -> list[str]:
    """The colours in which a text can be read on a background: much lighter or darker than it."""
    return [colour for colour in COLOURS if abs(_light(colour) - _light(background)) >= _CONTRAST]


def _light(colour: str) -> float:
    """How light a colour is, from 0 to 255 (ITU-R BT.601)."""
    red, green, blue = COLOURS[colour]
    return 0.299 * red + 0.587 * green + 0.114 * blue


def text(random: random.Random, longest: int = 6) -> str:
    """Three to six letters: a word that there is, one that there is not, or (one in five) two to four digits."""
    choice = random.random()
    if choice < 0.2:
        digits = random.randint(2, 4)
        return str(random.randrange(10 ** (digits - 1), 10**digits))
    while True:
        word = random.choice(words.THINGS) if choice < 0.6 else words.invented(random, random.choice((1, 2)))
        if 3 <= len(word) <= longest:
            return word.upper()


def sign(random: random.Random, text: str, ratio: float, letter: float, height: int, across: bool = False) -> Scene:
    """A text in a picture of that ratio of width to height. `letter` is the room of a letter as a share of the width.

    The text lies within one of the equal parts into which pan & scan cuts a picture of that ratio or, `across`, over
    the border of two.
    """
    width = round(height * ratio)
    tall = min(letter * width * (HEIGHT + PEN) / ADVANCE, 0.7 * height)
    wide = extent(text, tall)
    parts = min(math.floor(ratio + 0.5), 4) if ratio * len(text) * letter < 0.9 else 1
    if across:
        left = width * random.randint(1, parts - 1) / parts - wide / 2
    else:
        room = width / parts
        left = room * random.randrange(parts) + random.uniform(0.02 * room, 0.98 * room - wide)
    background, _ = palette(random)
    word = Word(
        text=text,
        colour=random.choice(inks(background)),
        x=round(left),
        y=round(random.uniform(0.03 * height, 0.97 * height - tall)),
        height=round(tall, 1),
    )
    return Scene(width=width, height=height, background=background, words=(word,))


def signs(random: random.Random, upright: bool) -> Scene:
    """Two texts of up to four letters, one above the other or one beside the other, the top or left one first."""
    background, _ = palette(random)
    first = text(random, longest=4)
    pair = (first, _another(random, first))
    height = random.randint(120, 200)
    width = round(height * random.uniform(1, 2.5))
    columns, rows = (1, 2) if upright else (2, 1)
    placed = []
    for place, each in enumerate(pair):
        room, floor = width / columns, height / rows
        tall = min(random.uniform(0.8, 0.9) * room / extent(each, 1), 0.7 * floor)
        left = (0 if upright else place) * room + random.uniform(0.04 * room, 0.96 * room - extent(each, tall))
        top = (place if upright else 0) * floor + random.uniform(0.04 * floor, 0.96 * floor - tall)
        colour = random.choice(inks(background))
        placed.append(Word(text=each, colour=colour, x=round(left), y=round(top), height=round(tall, 1)))
    return Scene(width=width, height=height, background=background, words=tuple(placed))


def _another(random: random.Random, first: str) -> str:
    while (second := text(random, longest=4)) == first:
        pass
    return second


def shapes_but(*barred: str) -> list[str]:
    """The shapes without some."""
    return others(SHAPES, *barred)
