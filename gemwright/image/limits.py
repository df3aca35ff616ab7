"""How large a picture file may be before it is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one file may ask for. Everything is checked on what the file declares, before a pixel is decoded.

    Decoding takes 9 bytes per pixel at its peak, of which the 3 of the picture stay; a WebP takes 16.
    """

    bytes: int  # of the file
    pixels: int  # width × height
    side: int  # the longer side, in pixels
    frames: int  # of an animation, of which only the first is seen; a file with more is a film
    scans: int  # of a JPEG: each goes over the whole picture once more, and a few bytes suffice to declare one


# 52 million pixels hold what a telephone's 50-megapixel sensor delivers; a progressive JPEG has about ten scans,
# and forty over that many pixels take less than two seconds.
LIMITS = Limits(bytes=32 * 2**20, pixels=52_000_000, side=30_000, frames=1_000, scans=40)
