"""Capitals and digits as strokes, drawn for this project: no font of another origin, the same on every machine."""

from __future__ import annotations

WIDTH, HEIGHT = 4, 6  # of a letter, between the middles of its strokes
ADVANCE = 6.0  # from the left end of a letter to that of the next
PEN = 1.1  # how wide a stroke is

# Strokes between bars, points between spaces: "06" is the left end of the bottom, "40" the right end of the top.
_STROKES = {
    "A": "06 20 46 | 14 34",
    "B": "03 33 42 41 30 00 06 36 45 44 33",
    "C": "41 30 10 01 05 16 36 45",
    "D": "00 20 42 44 26 06 00",
    "E": "40 00 06 46 | 03 33",
    "F": "40 00 06 | 03 33",
    "G": "41 30 10 01 05 16 36 45 43 23",
    "H": "00 06 | 40 46 | 03 43",
    "I": "10 30 | 20 26 | 16 36",
    "J": "20 40 | 30 35 26 16 05",
    "K": "00 06 | 40 03 46",
    "L": "00 06 46",
    "M": "06 00 23 40 46",
    "N": "06 00 46 40",
    "O": "10 30 41 45 36 16 05 01 10",
    "P": "06 00 30 41 42 33 03",
    "Q": "10 30 41 45 36 16 05 01 10 | 24 46",
    "R": "06 00 30 41 42 33 03 | 23 46",
    "S": "41 30 10 01 02 13 33 44 45 36 16 05",
    "T": "00 40 | 20 26",
    "U": "00 05 16 36 45 40",
    "V": "00 26 40",
    "W": "00 16 22 36 40",
    "X": "00 46 | 40 06",
    "Y": "00 23 40 | 23 26",
    "Z": "00 40 06 46",
    "0": "10 30 41 45 36 16 05 01 10 | 32 14",
    "1": "02 20 26 | 06 46",
    "2": "01 10 30 41 42 06 46",
    "3": "00 40 22 32 43 45 36 16 05",
    "4": "36 30 04 44",
    "5": "40 00 03 33 44 45 36 16 05",
    "6": "30 20 02 05 16 36 45 44 33 03",
    "7": "00 40 16",
    "8": "13 02 01 10 30 41 42 33 13 04 05 16 36 45 44 33",
    "9": "43 13 02 01 10 30 41 44 26 16",
}


def _points(stroke: str) -> tuple[tuple[int, int], ...]:
    return tuple((int(x), int(y)) for x, y in stroke.split())


LETTERS: dict[str, tuple[tuple[tuple[int, int], ...], ...]] = {
    letter: tuple(_points(stroke) for stroke in strokes.split(" | ")) for letter, strokes in _STROKES.items()
}
"""The points (x, y) of each stroke, x from 0 to `WIDTH`, y from 0 (the top) to `HEIGHT`."""


def extent(text: str, height: float) -> float:
    """How wide a text is whose letters are `height` pixels high, the pen's own width included in both."""
    return ((len(text) - 1) * ADVANCE + WIDTH + PEN) * unit(height)


def unit(height: float) -> float:
    """A unit of the strokes in pixels, for letters of that height."""
    return height / (HEIGHT + PEN)
