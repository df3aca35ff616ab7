"""Which way up a camera was held: the orientation in a picture's EXIF block.

Only this one number is read, by a parser that cannot fail: a damaged block means an upright picture.
"""

from __future__ import annotations

import struct

import numpy as np

UPRIGHT = 1
_TAG = 0x0112
_SHORT = 3


def orientation(exif: bytes) -> int:
    """The orientation, 1 (upright) to 8, that an EXIF block states; 1 if it states none.

    Source: EXIF 2.32, section 4.6 (a TIFF header, then directory entries of 12 bytes).
    """
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return UPRIGHT
    try:
        (directory,) = struct.unpack_from(order + "I", block, 4)
        (entries,) = struct.unpack_from(order + "H", block, directory)
        for index in range(entries):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", block, directory + 2 + 12 * index)
            if tag == _TAG:
                return value if kind == _SHORT and count == 1 and 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass  # the block ends in the middle of a directory
    return UPRIGHT


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """`pixels` `[height, width, 3]` turned and mirrored as `orientation` (1 to 8) asks; a view."""
    if orientation in (5, 6, 7, 8):  # the stored rows are the columns of the scene
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
