"""A scene as a picture: filled polygons, smooth at the edges, the same bytes for the same scene."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from PIL import Image, ImageDraw

from gemwright.tasks.item import Item
from gemwright.tasks.pictures.alphabet import ADVANCE, LETTERS, PEN, WIDTH, unit
from gemwright.tasks.pictures.scene import COLOURS, LEVELS, Scene, Word

_FINE = 4  # fine pixels along the side of a pixel: edges have 16 steps
_ROUND = 40  # corners of what is round
_LABELS = (0, LEVELS // 2, LEVELS)  # of a chart's axis

Points = Sequence[tuple[float, float]]


def picture(item: Item) -> Image.Image:
    """The picture that an item asks about, RGB. Raises `ValueError` for an item without one."""
    if item.scene is None:
        raise ValueError(f"an item of {item.skill}/{item.task} has no picture")
    return draw(Scene.from_json(item.scene))


def png(item: Item) -> bytes:
    """That picture as a file: the same pixels everywhere, and the same bytes from the same version of Pillow."""
    file = io.BytesIO()
    picture(item).save(file, "PNG")
    return file.getvalue()


def draw(scene: Scene) -> Image.Image:
    """The picture of a scene, RGB, `scene.width` by `scene.height` pixels."""
    canvas = _Canvas(scene)
    for thing in scene.things:
        outline = [(thing.x + x * thing.radius, thing.y + y * thing.radius) for x, y in _OUTLINES[thing.shape]]
        canvas.fill(outline, thing.colour)
    if scene.bars:
        _chart(canvas, scene)
    for word in scene.words:
        _write(canvas, word)
    return canvas.image.reduce(_FINE)


class _Canvas:
    """A picture in fine pixels. Corners are rounded to them, so that no library decides where an edge runs."""

    def __init__(self, scene: Scene) -> None:
        self.image = Image.new("RGB", (scene.width * _FINE, scene.height * _FINE), COLOURS[scene.background])
        self._pen = ImageDraw.Draw(self.image)

    def fill(self, outline: Points, colour: str) -> None:
        self._pen.polygon([(round(x * _FINE), round(y * _FINE)) for x, y in outline], fill=COLOURS[colour])

    def box(self, left: float, top: float, right: float, bottom: float, colour: str) -> None:
        # The last fine pixel of a filled polygon is inside it.
        edge = 1 / _FINE
        self.fill([(left, top), (right - edge, top), (right - edge, bottom - edge), (left, bottom - edge)], colour)

    def line(self, start: tuple[float, float], end: tuple[float, float], wide: float, colour: str) -> None:
        """A stroke with round ends."""
        along = math.atan2(end[1] - start[1], end[0] - start[0])
        half = [along + math.pi / 2 + math.pi * step / 12 for step in range(13)]
        ends = [(start, half), (end, [angle + math.pi for angle in half])]
        self.fill(
            [
                (x + math.cos(angle) * wide / 2, y + math.sin(angle) * wide / 2)
                for (x, y), angles in ends
                for angle in angles
            ],
            colour,
        )


def _write(canvas: _Canvas, word: Word) -> None:
    step = unit(word.height)
    wide = PEN * step
    for place, letter in enumerate(word.text):
        left, top = word.x + place * ADVANCE * step + wide / 2, word.y + wide / 2
        for stroke in LETTERS[letter]:
            points = [(left + x * step, top + y * step) for x, y in stroke]
            for start, end in pairwise(points):
                canvas.line(start, end, wide, word.colour)


def bars(scene: Scene) -> Iterator[tuple[float, float, float, float]]:
    """Where the bars of a chart are, in pixels: left, top, right, bottom."""
    _, left, right, bottom, rise = _axes(scene)
    room = (right - left) / max(len(scene.bars), 1)
    for place, bar in enumerate(scene.bars):
        middle = left + (place + 0.5) * room
        yield middle - room * 0.35, bottom - bar.value * rise, middle + room * 0.35, bottom


def letters(word: Word) -> Iterator[tuple[str, float, float]]:
    """The letters of a text, each with its middle in pixels."""
    step = unit(word.height)
    for place, letter in enumerate(word.text):
        yield letter, word.x + (place * ADVANCE + (WIDTH + PEN) / 2) * step, word.y + word.height / 2


def _axes(scene: Scene) -> tuple[float, float, float, float, float]:
    """Of a chart: the height of its labels, the left and right ends and the bottom of its axes, the height of a
    value."""
    label = scene.height / 14
    bottom, top = scene.height - label, 1.2 * label
    return label, 2.5 * label, scene.width - label, bottom, (bottom - top) / LEVELS


def _chart(canvas: _Canvas, scene: Scene) -> None:
    """Bars on an axis with a line for each value and numbers at the left."""
    ink = "white" if scene.background == "black" else "black"
    label, left, right, bottom, rise = _axes(scene)
    for value in range(LEVELS + 1):
        height, wide = bottom - value * rise, label / (4 if value in _LABELS else 12)
        canvas.box(left, height - wide / 2, right, height + wide / 2, ink)
        if value in _LABELS:
            wanted = Word(text=str(value), colour=ink, x=round(label / 2), y=round(height - label / 2), height=label)
            _write(canvas, wanted)
    for bar, place in zip(scene.bars, bars(scene), strict=True):
        canvas.box(*place, bar.colour)


def _around(corners: int, inner: float = 1.0) -> Iterator[tuple[float, float]]:
    """Points on a circle, the first at the top; every second one on an inner circle, if there is one."""
    for corner in range(corners):
        angle, radius = 2 * math.pi * corner / corners, inner if corner % 2 else 1.0
        yield radius * math.sin(angle), -radius * math.cos(angle)


def _heart() -> Iterator[tuple[float, float]]:
    """x = 16 sin³ t, y = 13 cos t − 5 cos 2t − 2 cos 3t − cos 4t, a heart of the usual form, within the circle."""
    for step in range(_ROUND):
        t = 2 * math.pi * step / _ROUND
        height = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        yield math.sin(t) ** 3 * 16 / 17, -(height + 0.1) / 17


_HALF = math.sqrt(0.5)
_ARM, _THICK = 0.94, 0.33
_CROSS = [(_THICK, _ARM), (_THICK, _THICK), (_ARM, _THICK)]
# Within a circle of radius 1, y downwards.
_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "circle": list(_around(_ROUND)),
    "square": [(-_HALF, -_HALF), (_HALF, -_HALF), (_HALF, _HALF), (-_HALF, _HALF)],
    "triangle": list(_around(3)),
    "diamond": [(0, -1), (0.68, 0), (0, 1), (-0.68, 0)],
    "star": list(_around(10, 0.48)),
    "cross": [
        *_CROSS,
        *((x, -y) for x, y in reversed(_CROSS)),
        *((-x, -y) for x, y in _CROSS),
        *((-x, y) for x, y in reversed(_CROSS)),
    ],
    "heart": list(_heart()),
}
