"""Small picture files of every format and coding, made anew for each run."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image


def scene(width: int = 40, height: int = 28) -> Image.Image:
    """An RGB image in which no two corners are alike."""
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = columns * 255 // max(1, width - 1), rows * 255 // max(1, height - 1)
    return Image.fromarray(np.stack([red, green, (red + 2 * green) % 256], axis=2).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _exif(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    """Whole files by name; the name's first word is the format."""
    image, grey = scene(), scene().convert("L")
    alpha = image.copy()
    alpha.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    frames = {"save_all": True, "append_images": [image.rotate(90), image.rotate(180)]}
    return {
        "PNG colour": encode(image, "PNG"),
        "PNG alpha": encode(alpha, "PNG", exif=_exif(6)),
        "PNG grey": encode(grey, "PNG", transparency=0),
        "PNG grey, alpha": encode(alpha.convert("LA"), "PNG"),
        "PNG palette": encode(image.quantize(16), "PNG", transparency=3),
        "PNG palette, alpha": encode(alpha.quantize(16), "PNG"),
        "PNG black and white": encode(image.convert("1"), "PNG"),
        "PNG 16 bits": encode(deep, "PNG"),
        "PNG animated": encode(image, "PNG", **frames),
        "JPEG colour": encode(image, "JPEG", exif=_exif(8), comment=b"hello"),
        "JPEG progressive": encode(image, "JPEG", progressive=True),
        "JPEG grey": encode(grey, "JPEG"),
        "JPEG CMYK": encode(image.convert("CMYK"), "JPEG"),
        "GIF": encode(image, "GIF"),
        "GIF transparent": encode(image.quantize(16), "GIF", transparency=2, comment=b"hello"),
        "GIF animated": encode(image, "GIF", disposal=2, **frames),
        "WebP": encode(image, "WEBP", exif=_exif(3)),
        "WebP lossless": encode(image, "WEBP", lossless=True),
        "WebP alpha": encode(alpha, "WEBP", lossless=True),
        "WebP animated": encode(image, "WEBP", **frames),
        "BMP": encode(image, "BMP"),
        "BMP palette": encode(image.quantize(16), "BMP"),
        "BMP black and white": encode(image.convert("1"), "BMP"),
    }
