"""Pictures in a terminal: a small drawing where there are colours, and always name and size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gemwright.cli import show

if TYPE_CHECKING:
    from rich.text import Text

    from gemwright.engine.eyes import Eyes
    from gemwright.engine.pictures import Shown

_COLUMNS, _LINES = 48, 16  # of a drawing at most


def look(eyes: Eyes, files: Sequence[Path], pan_scan: bool) -> list[Shown]:
    """The pictures in files, each told on stderr; with `pan_scan` wide and tall ones are cut, else as its makers
    want it. Raises `UserError` for one that cannot be read, and for all where the model sees none."""
    if not eyes.loaded and files:
        with show.waiting("loading the vision tower"):
            _ = eyes.tower
    found = [eyes.show(file, pan_scan=pan_scan or None) for file in files]
    for shown in found:
        tell(shown)
    return found


def tell(shown: Shown) -> None:
    """A picture's name and size on stderr, below a drawing of it where there are colours, with what was done to it."""
    screen = show.console(stderr=True)
    if screen.is_terminal and screen.color_system is not None and screen.encoding.startswith("utf"):
        screen.print(drawing(shown, min(_COLUMNS, screen.width), _LINES))
    show.dim(describe(shown))
    for note in shown.notes:
        show.note(f"{printable(shown.name)}: {note}")


def describe(shown: Shown) -> str:
    """`cat.png, 640 × 480 pixels`, and the number of crops where there are some."""
    crops = len(shown.views) - 1
    return f"{printable(shown.name)}, {shown.width} × {shown.height} pixels" + (f", {crops} crops" if crops else "")


def printable(name: str) -> str:
    """A file's name without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)


def drawing(shown: Shown, columns: int, lines: int) -> Text:
    """The picture in half blocks, two pixels in each character, in its own proportions and within that room."""
    from PIL import Image
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    scale = min(columns / shown.width, 2 * lines / shown.height)
    width = max(1, round(shown.width * scale))
    height = max(1, round(shown.height * scale / 2))  # in lines
    small = Image.fromarray(shown.views[0].pixels).resize((width, 2 * height), Image.Resampling.BOX)
    text = Text()
    for row in range(0, 2 * height, 2):
        if row:
            text.append("\n")
        for column in range(width):
            upper, lower = (Color.from_rgb(*_pixel(small, column, row + below)) for below in (0, 1))
            text.append("▀", Style(color=upper, bgcolor=lower))
    return text


def _pixel(image: object, column: int, row: int) -> tuple[int, int, int]:
    return image.getpixel((column, row))  # type: ignore[attr-defined]
