"""Pan and scan: a wide or tall picture is seen whole and, beside that, in crops along its longer side.

The encoder sees a square; of a strip of text, say, squeezed into it nothing is legible. The crops do not overlap. Both
published versions of the rule share their arithmetic: transformers' (`PAN_SCAN`, off unless asked for) and Google's
PyTorch code (`PAN_SCAN_GOOGLE`, always on). They differ in the ratio from which on a picture is cut, and in the last
crop, which may overrun the picture by 1 to 3 pixels where its side does not divide: the first cuts the overrun off
before it stretches the crop to the encoder's square, the second fills it with black. The default follows transformers,
against which published results were repeated most often and which the tests can run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gemwright.image.picture import Picture, picture


@dataclass(frozen=True, kw_only=True)
class PanScan:
    """The rule's parameters. Raises ValueError for values with which a crop could be empty.

    The picture is cut if its longer side is at least `min_ratio` times the shorter, into 2 to `max_crops` crops, all
    of whose sides have at least `min_crop` pixels.
    """

    min_crop: int
    max_crops: int
    min_ratio: float
    overrun: Literal["cut", "black"]

    def __post_init__(self) -> None:
        if not 2 <= self.max_crops <= self.min_crop:
            raise ValueError(f"max_crops {self.max_crops}: from 2 to min_crop {self.min_crop}")
        if not self.min_ratio >= 1:
            raise ValueError(f"min_ratio {self.min_ratio}: at least 1")


PAN_SCAN = PanScan(min_crop=256, max_crops=4, min_ratio=1.2, overrun="cut")
PAN_SCAN_GOOGLE = PanScan(min_crop=256, max_crops=4, min_ratio=1.5, overrun="black")


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in pixels: `left` and `top` belong to it, `right` and `bottom` do not."""

    left: int
    top: int
    right: int
    bottom: int


def boxes(width: int, height: int, rule: PanScan = PAN_SCAN) -> list[Box]:
    """The crops of a picture of `width` × `height` pixels, from left to right or from top to bottom; [] for none.

    All have one size: the last may overrun the picture by up to `max_crops` - 1 pixels. Raises ValueError for a side
    below 1.
    """
    if min(width, height) < 1:
        raise ValueError(f"{width} × {height}: at least 1 × 1 pixel")
    long, short = max(width, height), min(width, height)
    if long / short < rule.min_ratio:
        return []
    count = min(math.floor(long / short + 0.5), long // rule.min_crop)
    count = min(max(count, 2), rule.max_crops)
    step = math.ceil(long / count)
    if min(step, short) < rule.min_crop:
        return []
    starts = range(0, step * count, step)
    if width >= height:
        return [Box(left=start, top=0, right=start + step, bottom=height) for start in starts]
    return [Box(left=0, top=start, right=width, bottom=start + step) for start in starts]


def crop(whole: Picture, box: Box, overrun: Literal["cut", "black"], name: str = "") -> Picture:
    """The part of `whole` in `box`; what of the box lies beyond the right or lower edge is cut off or black.

    Raises ValueError if no pixel of the picture lies in the box.
    """
    part = whole.pixels[box.top : box.bottom, box.left : box.right]
    if not part.size or min(box.top, box.left) < 0:
        raise ValueError(f"{box} of a picture of {whole.width} × {whole.height} pixels")
    if overrun == "black":
        below, beside = box.bottom - box.top - part.shape[0], box.right - box.left - part.shape[1]
        part = np.pad(part, ((0, below), (0, beside), (0, 0)))
    return picture(part, name or whole.name)


def views(whole: Picture, rule: PanScan | None) -> list[Picture]:
    """What the model is shown of a picture: the whole, then its crops by `rule` (None: the whole alone)."""
    if rule is None:
        return [whole]
    cuts = boxes(whole.width, whole.height, rule)
    names = [f"{whole.name}, crop {number} of {len(cuts)}" for number in range(1, len(cuts) + 1)]
    return [whole, *(crop(whole, box, rule.overrun, name) for box, name in zip(cuts, names, strict=True))]
