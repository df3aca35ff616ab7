"""The mistakes that implementations make when a picture becomes pixels: `sights.py` has those that come after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Drawing

from gemwright.image.pan_scan import PAN_SCAN, boxes, crop, views
from gemwright.image.picture import Picture
from gemwright.image.resize import pixels


def _by(filter: Drawing.Resampling) -> Callable[[Picture, int], np.ndarray]:
    def prepare(whole: Picture, side: int) -> np.ndarray:
        return _levels(Drawing.fromarray(whole.pixels).resize((side, side), filter))

    return prepare


def _levels(drawing: Drawing.Image) -> np.ndarray:
    return np.asarray(drawing).transpose(2, 0, 1).astype(np.float32) / 127.5 - 1


def aliased(whole: Picture, side: int) -> np.ndarray:
    """Bilinear between the four nearest pixels, whatever the reduction."""
    values = torch.from_numpy(whole.pixels.copy()).permute(2, 0, 1)[None].float()
    smaller = F.interpolate(values, (side, side), mode="bilinear", align_corners=False, antialias=False)
    return smaller[0].round().numpy() / 127.5 - 1


def bordered(whole: Picture, side: int) -> np.ndarray:
    """Proportions kept, the rest black."""
    drawing = Drawing.fromarray(whole.pixels)
    drawing.thumbnail((side, side), Drawing.Resampling.BILINEAR)
    black = Drawing.new("RGB", (side, side))
    black.paste(drawing)
    return _levels(black)


def cut_out(whole: Picture, side: int) -> np.ndarray:
    """The largest square in the middle."""
    short = min(whole.width, whole.height)
    left, top = (whole.width - short) // 2, (whole.height - short) // 2
    inner = Drawing.fromarray(whole.pixels).crop((left, top, left + short, top + short))
    return _levels(inner.resize((side, side), Drawing.Resampling.BILINEAR))


def of_another_set(whole: Picture, side: int) -> np.ndarray:
    """The mean and deviation of ImageNet's colours."""
    mean, deviation = (np.array(x, np.float32)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return ((pixels(whole, side) + 1) / 2 - mean) / deviation


PIXELS: dict[str, Callable[[Picture, int], np.ndarray]] = {
    "nearest pixels": _by(Drawing.Resampling.NEAREST),
    "bicubic": _by(Drawing.Resampling.BICUBIC),
    "Lanczos": _by(Drawing.Resampling.LANCZOS),
    "box filter": _by(Drawing.Resampling.BOX),
    "no antialiasing": aliased,
    "proportions kept": bordered,
    "the middle cut out": cut_out,
    "blue, green, red": lambda whole, side: pixels(whole, side)[::-1],
    "columns for rows": lambda whole, side: pixels(whole, side).transpose(0, 2, 1),
    "from 0 to 1": lambda whole, side: (pixels(whole, side) + 1) / 2,
    "from 0 to 255": lambda whole, side: (pixels(whole, side) + 1) * 127.5,
    "ImageNet's mean and deviation": of_another_set,
    "colours beside each other": lambda whole, side: pixels(whole, side).transpose(1, 2, 0).reshape(3, side, side),
}

CROPS: dict[str, Callable[[Picture], list[Picture]]] = {
    "the overrun is black": lambda whole: views(whole, replace(PAN_SCAN, overrun="black")),
    "cut from a ratio of 3 only": lambda whole: views(whole, replace(PAN_SCAN, min_ratio=3.0)),
    "the whole comes last": lambda whole: views(whole, PAN_SCAN)[1:] + views(whole, PAN_SCAN)[:1],
    "crops without the whole": lambda whole: [crop(whole, box, "cut") for box in boxes(whole.width, whole.height)],
    "crops from right to left": lambda whole: views(whole, PAN_SCAN)[:1] + views(whole, PAN_SCAN)[:0:-1],
}
