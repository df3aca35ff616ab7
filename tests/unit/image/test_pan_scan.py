"""How wide and tall pictures are cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from gemwright.image.pan_scan import PAN_SCAN, PAN_SCAN_GOOGLE, Box, PanScan, boxes, crop, views
from gemwright.image.picture import Picture, picture

VECTORS = [
    ((1000, 1000), 0, (0, 0)),
    ((1199, 1000), 0, (0, 0)),
    ((1200, 1000), 2, (600, 1000)),
    ((1600, 900), 2, (800, 900)),
    ((3000, 1000), 3, (1000, 1000)),
    ((2560, 1000), 3, (854, 1000)),
    ((5000, 600), 4, (1250, 600)),
    ((500, 300), 0, (0, 0)),
    ((640, 256), 2, (320, 256)),
    ((1000, 255), 0, (0, 0)),
]
SIZES = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


def blank(width: int, height: int) -> Picture:
    return picture(np.full((height, width, 3), 200, dtype=np.uint8), "blank")


@pytest.mark.parametrize(("size", "count", "each"), VECTORS)
def test_known_pictures_are_cut_as_known(size: tuple[int, int], count: int, each: tuple[int, int]) -> None:
    width, height = each
    expected = [Box(left=k * width, top=0, right=(k + 1) * width, bottom=height) for k in range(count)]
    assert boxes(*size) == expected


@given(SIZES)
def test_a_portrait_is_cut_as_the_mirrored_landscape(size: tuple[int, int]) -> None:
    width, height = max(size), min(size)
    mirrored = [Box(left=box.top, top=box.left, right=box.bottom, bottom=box.right) for box in boxes(width, height)]
    assert boxes(height, width) == mirrored


@given(SIZES)
def test_boxes_cover_the_picture_without_overlap(size: tuple[int, int]) -> None:
    cuts = boxes(*size)
    if cuts:
        seen = np.zeros((size[1], size[0]), dtype=int)
        for box in cuts:
            seen[box.top : box.bottom, box.left : box.right] += 1
        assert (seen == 1).all()
        assert min(min(box.right - box.left, box.bottom - box.top) for box in cuts) >= PAN_SCAN.min_crop
        assert cuts[-1].right - size[0] < PAN_SCAN.max_crops
        assert cuts[-1].bottom - size[1] < PAN_SCAN.max_crops


@given(SIZES, st.integers(4, 300), st.integers(2, 4), st.floats(1, 3))
def test_the_rule_is_transformers_for_any_parameters(
    size: tuple[int, int], min_crop: int, max_crops: int, min_ratio: float
) -> None:
    rule = PanScan(min_crop=min_crop, max_crops=max_crops, min_ratio=min_ratio, overrun="cut")
    empty = np.broadcast_to(np.uint8(0), (3, size[1], size[0]))
    cuts = Gemma3ImageProcessorPil().pan_and_scan(empty, min_crop, max_crops, min_ratio)
    ours = [(min(box.bottom, size[1]) - box.top, min(box.right, size[0]) - box.left) for box in boxes(*size, rule)]
    assert ours == [cut.shape[1:] for cut in cuts]


def test_the_overrun_of_the_last_crop_is_cut_off_or_black() -> None:
    whole = blank(2560, 1000)
    last = boxes(2560, 1000)[-1]
    cut, padded = crop(whole, last, "cut"), crop(whole, last, "black")
    assert (cut.width, padded.width) == (852, 854)
    assert (padded.pixels[:, :852] == 200).all()
    assert (padded.pixels[:, 852:] == 0).all()


def test_the_whole_picture_comes_first_and_crops_are_named() -> None:
    names = [view.name for view in views(blank(1600, 900), PAN_SCAN)]
    assert names == ["blank", "blank, crop 1 of 2", "blank, crop 2 of 2"]


def test_without_a_rule_there_are_no_crops() -> None:
    assert views(blank(1600, 900), None) == [blank(1600, 900)]


def test_googles_rule_starts_at_a_ratio_of_one_and_a_half() -> None:
    assert [len(boxes(width, 1000, PAN_SCAN_GOOGLE)) for width in (1499, 1500)] == [0, 2]


@pytest.mark.parametrize(
    "wrong", [{"max_crops": 1}, {"max_crops": 257}, {"min_ratio": 0.5}, {"min_ratio": float("nan")}]
)
def test_parameters_that_could_leave_a_crop_empty_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(PAN_SCAN, **wrong)


def test_a_box_outside_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="10 × 10"):
        crop(blank(10, 10), Box(left=10, top=0, right=20, bottom=10), "cut")
