"""From any of Pillow's modes to RGB: transparency over white, palettes, grey values, 16 bits, CMYK."""

from __future__ import annotations

import numpy as np
from PIL import Image

WHITE = (255, 255, 255)
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_STRIP = 256  # rows that are worked on at a time: what lies between the stored and the final pixels stays small


def flatten(image: Image.Image, key: tuple[int, ...] | None) -> tuple[np.ndarray, bool]:
    """uint8 RGB `[height, width, 3]`: `image` laid over white; and whether any of it was transparent.

    `key`: the value (grey) or the three (colour) that stand for transparency in a picture without alpha; None: those
    that the image itself names, if any.
    Of 16 bits the upper 8 are kept, in grey pictures as Pillow does in coloured ones. Colour profiles are ignored, as
    the reference ignores them. Raises ValueError for a mode that has no such meaning (real numbers, say).
    """
    width, height = image.size
    pixels, see_through = np.empty((height, width, 3), dtype=np.uint8), False
    for top in range(0, height, _STRIP):
        bottom = min(top + _STRIP, height)
        strip = image.crop((0, top, width, bottom))
        opaque = _opaque(strip, _named(image) if key is None else key)
        rows, mixed = _rows(strip)
        if opaque is not None:
            rows[~opaque] = WHITE
            mixed |= not opaque.all()
        pixels[top:bottom] = rows
        see_through |= mixed
    return pixels, bool(see_through)


def _rows(strip: Image.Image) -> tuple[np.ndarray, bool]:
    """The RGB rows of `strip`, an array of their own, with its alpha or transparent palette over white; and whether
    anything was transparent."""
    if strip.mode in _SIXTEEN_BITS:
        values = np.asarray(strip)
        if strip.mode == "I" and (values.min() < 0 or values.max() > 0xFFFF):
            raise ValueError("its integers need more than 16 bits")
        return np.repeat((values >> 8).astype(np.uint8)[:, :, None], 3, axis=2), False
    if strip.mode == "F":
        raise ValueError("its pixels are real numbers of an unknown range")
    if strip.mode in ("LA", "La", "PA", "RGBA", "RGBa") or (strip.mode == "P" and "transparency" in strip.info):
        if strip.mode == "La":
            strip = strip.convert("LA")  # Pillow knows no shorter way
        strip = strip.convert("RGBA")
        alpha = strip.getchannel("A")
        page = Image.new("RGB", strip.size, WHITE)
        page.paste(strip, mask=alpha)
        return np.array(page), alpha.getextrema()[0] != 255
    strip.info.pop("transparency", None)  # seen to by `_opaque`; Pillow would look at it once more
    return np.array(strip.convert("RGB")), False


def _named(image: Image.Image) -> tuple[int, ...] | None:
    """The value or values of `image` that Pillow knows to stand for transparency."""
    known = image.info.get("transparency")
    return (known,) if isinstance(known, int) else known if isinstance(known, tuple) else None


def _opaque(strip: Image.Image, key: tuple[int, ...] | None) -> np.ndarray | None:
    """Which pixels `[height, width]` differ from `key`; None where no single value stands for transparency."""
    if key is None or strip.mode not in (*_SIXTEEN_BITS, "1", "L", "RGB") or len(key) != len(strip.getbands()):
        return None
    values = np.asarray(strip.convert("L") if strip.mode == "1" else strip)
    return np.any(np.atleast_3d(values) != np.array(key), axis=2)
