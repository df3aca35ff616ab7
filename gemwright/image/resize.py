"""A picture becomes what the vision encoder takes: a square of numbers from -1 to 1."""

from __future__ import annotations

import numpy as np
from PIL import Image

from gemwright.image.picture import Picture


def pixels(picture: Picture, side: int) -> np.ndarray:
    """float32 `[3, side, side]` in [-1, 1]: red, green, blue, rows from top to bottom.

    The picture is stretched to the square (its proportions are not kept) by bilinear interpolation whose triangle
    widens with the reduction, so that nothing aliases; rounded to 8 bits; then v ↦ v/127.5 - 1, which is
    (v/255 - 0.5) / 0.5 as the reference writes it. Raises ValueError for a side below 1.
    """
    if side < 1:
        raise ValueError(f"side {side}: at least 1 pixel")
    square = Image.fromarray(picture.pixels).resize((side, side), Image.Resampling.BILINEAR)
    values = np.asarray(square).transpose(2, 0, 1).astype(np.float32)  # rows columns 3 → 3 rows columns
    values /= 127.5
    values -= 1.0
    return values
