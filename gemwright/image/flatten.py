"""From any of Pillow's modes to RGB: transparency over white, palettes, grey values, 16 bits, CMYK."""

from __future__ import annotations

import numpy as np
from PIL import Image

WHITE = (255, 255, 255)
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def flatten(image: Image.Image, key: tuple[int, ...] | None) -> tuple[Image.Image, bool]:
    """`image` in mode RGB, laid over white, and whether any of it was transparent.

    `key`: the value (grey) or the three (colour) that stand for transparency in a picture without alpha; None: those
    that the image itself names, if any.
    Of 16 bits the upper 8 are kept, in grey pictures as Pillow does in coloured ones. Colour profiles are ignored, as
    the reference ignores them. Raises ValueError for a mode that has no such meaning (real numbers, say).
    """
    key = _key(image) if key is None else key
    if image.mode in _SIXTEEN_BITS:
        values = np.asarray(image)
        if image.mode == "I" and (values.min() < 0 or values.max() > 0xFFFF):
            raise ValueError("its integers need more than 16 bits")
        opaque = None if key is None else values != key[0]
        grey = Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
        return _over_white(grey, opaque)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or (image.mode == "P" and "transparency" in image.info):
        image = _rgba(image)
        alpha = image.getchannel("A")
        lowest = alpha.getextrema()[0]
        if lowest == 255:
            return image.convert("RGB"), False
        page = Image.new("RGB", image.size, WHITE)
        page.paste(image, mask=alpha)
        return page, True
    if image.mode == "F":
        raise ValueError("its pixels are real numbers of an unknown range")
    if image.mode == "1":
        image = image.convert("L")
    opaque = None
    if key is not None and len(key) == len(image.getbands()):
        opaque = np.any(np.atleast_3d(np.asarray(image)) != np.array(key), axis=2)
    image.info.pop("transparency", None)  # seen to here; Pillow would look at it once more
    return _over_white(image.convert("RGB"), opaque)


def _key(image: Image.Image) -> tuple[int, ...] | None:
    """The values of `image` that Pillow knows to stand for transparency."""
    known = image.info.get("transparency")
    return (known,) if isinstance(known, int) else known if isinstance(known, tuple) else None


def _rgba(image: Image.Image) -> Image.Image:
    """`image`, of a mode with transparency, as RGBA; Pillow goes from "La" only by "LA"."""
    if image.mode == "La":
        image = image.convert("LA")
    return image.convert("RGBA")


def _over_white(image: Image.Image, opaque: np.ndarray | None) -> tuple[Image.Image, bool]:
    """`image` (RGB) with white wherever `opaque` `[height, width]` is False."""
    if opaque is None or opaque.all():
        return image, False
    pixels = np.array(image)
    pixels[~opaque] = WHITE
    return Image.fromarray(pixels), True
