"""A decoded picture."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Pixels, and what should be known of them. Two pictures are equal if their sizes and pixels are.

    `pixels` is uint8 RGB `[height, width, 3]`, read-only. `name` is what messages call the picture. `sha256` is the
    fingerprint of size and pixels (hexadecimal): caches know a picture by it, whatever file it came from. `notes` says
    what was done to the picture that a person may not expect (a frame chosen, transparency laid over white).
    """

    pixels: np.ndarray = field(compare=False, repr=False)
    name: str = field(compare=False)
    sha256: str
    notes: tuple[str, ...] = field(compare=False)

    @property
    def width(self) -> int:
        """In pixels."""
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        """In pixels."""
        return self.pixels.shape[0]


def picture(pixels: np.ndarray, name: str, notes: tuple[str, ...] = ()) -> Picture:
    """The picture of uint8 RGB `pixels` `[height, width, 3]`, fingerprinted. The array must not change afterwards.

    Raises ValueError for any other shape or dtype, and for an empty array.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"pixels must be uint8 [height, width, 3], not {pixels.dtype} {list(pixels.shape)}")
    held = np.ascontiguousarray(pixels).view()
    held.flags.writeable = False
    fingerprint = hashlib.sha256(f"{held.shape[1]}x{held.shape[0]}:".encode())
    fingerprint.update(held.data)
    return Picture(pixels=held, name=name, sha256=fingerprint.hexdigest(), notes=notes)
