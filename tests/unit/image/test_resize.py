"""The encoder's square, held against transformers' processor on Pillow with the published settings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from gemwright.image.pan_scan import PAN_SCAN, views
from gemwright.image.picture import Picture, picture
from gemwright.image.resize import pixels

LEVEL = 2 / 255  # one level of 255, in the units of [-1, 1]


def reference(given: Picture, side: int, *, pan_scan: bool = False) -> np.ndarray:
    processor = Gemma3ImageProcessorPil(
        size={"height": side, "width": side}, resample=2, image_mean=[0.5] * 3, image_std=[0.5] * 3,
        rescale_factor=1 / 255, do_pan_and_scan=pan_scan, pan_and_scan_min_crop_size=256,
        pan_and_scan_max_num_crops=4, pan_and_scan_min_ratio_to_activate=1.2,
    )  # fmt: skip
    return np.stack(processor(Image.fromarray(given.pixels))["pixel_values"])


def noise(width: int, height: int) -> Picture:
    generator = np.random.default_rng(width * 10_007 + height)
    return picture(generator.integers(0, 256, (height, width, 3), dtype=np.uint8), "noise")


@pytest.mark.parametrize(("width", "height"), [(896, 896), (1920, 1080), (37, 1500), (300, 200), (1, 1)])
def test_pixels_at_896_are_the_references(width: int, height: int) -> None:
    given = noise(width, height)
    found = pixels(given, 896)
    assert (found.shape, found.dtype) == ((3, 896, 896), np.float32)
    # 100 times closer than one level: no rounding to 8 bits differs.
    np.testing.assert_allclose(found, reference(given, 896)[0], rtol=0, atol=LEVEL / 100)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 64))
def test_pixels_of_any_size_are_the_references(width: int, height: int, side: int) -> None:
    given = noise(width, height)
    np.testing.assert_allclose(pixels(given, side), reference(given, side)[0], rtol=0, atol=LEVEL / 100)


@pytest.mark.parametrize(("width", "height"), [(2560, 1000), (1000, 2561), (640, 256), (1000, 1000)])
def test_crops_are_the_references_too(width: int, height: int) -> None:
    given = noise(width, height)
    found = np.stack([pixels(view, 112) for view in views(given, PAN_SCAN)])
    np.testing.assert_allclose(found, reference(given, 112, pan_scan=True), rtol=0, atol=LEVEL / 100)


def test_black_is_minus_one_and_white_is_one() -> None:
    both = np.repeat(np.array([0, 255], dtype=np.uint8), 6).reshape(2, 2, 3)
    found = pixels(picture(both, ""), 2)
    assert (found[:, 0] == -1).all()
    assert (found[:, 1] == 1).all()


def test_fine_stripes_become_grey_when_reduced() -> None:
    """Without antialiasing they would stay stripes, or turn into one of the two colours."""
    stripes = np.zeros((512, 512, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(pixels(picture(stripes, ""), 32)).max() < 0.05


def test_a_side_of_no_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="side 0"):
        pixels(noise(4, 4), 0)
