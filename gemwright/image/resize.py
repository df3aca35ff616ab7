"""A picture becomes what the vision encoder takes: a square of numbers from -1 to 1."""

from __future__ import annotations

import numpy as np
from PIL import Image

from gemwright.image.picture import Picture, picture


def square(whole: Picture, side: int) -> Picture:
    """The picture stretched to `side × side` pixels: all of it that the encoder sees, in a size that can be kept.

    `pixels` makes the same numbers of both. Raises ValueError for a side below 1.
    """
    if (whole.width, whole.height) == (side, side):
        return whole
    return picture(np.asarray(_stretched(whole, side)), whole.name, whole.notes)


def _stretched(whole: Picture, side: int) -> Image.Image:
    if side < 1:
        raise ValueError(f"side {side}: at least 1 pixel")
    return Image.fromarray(whole.pixels).resize((side, side), Image.Resampling.BILINEAR)


def pixels(picture: Picture, side: int) -> np.ndarray:
    """float32 `[3, side, side]` in [-1, 1]: red, green, blue, rows from top to bottom.

    The picture is stretched to the square (its proportions are not kept) by bilinear interpolation whose triangle
    widens with the reduction, so that nothing aliases; rounded to 8 bits; then v ↦ v/127.5 - 1, which is
    (v/255 - 0.5) / 0.5 as the reference writes it. Raises ValueError for a side below 1.
    """
    values = (
        np.asarray(_stretched(picture, side)).transpose(2, 0, 1).astype(np.float32)
    )  # rows columns 3 → 3 rows columns
    values /= 127.5
    values -= 1.0
    return values
