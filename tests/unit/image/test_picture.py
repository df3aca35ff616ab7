"""What a picture is known by."""

from __future__ import annotations

import numpy as np
import pytest

from gemwright.image.picture import picture


def test_the_fingerprint_tells_sizes_apart_where_bytes_are_equal() -> None:
    wide, tall = (picture(np.zeros(shape, dtype=np.uint8), "") for shape in ((2, 3, 3), (3, 2, 3)))
    assert wide.sha256 != tall.sha256
    assert (wide.width, wide.height) == (3, 2)


def test_equal_pixels_make_equal_pictures_whatever_their_names() -> None:
    pixels = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    turned = np.ascontiguousarray(pixels.swapaxes(0, 1)).swapaxes(0, 1)  # another order in memory
    assert picture(pixels, "a", ("note",)) == picture(turned, "b")
    assert picture(pixels, "a") != picture(pixels + np.uint8(1), "a")


def test_pixels_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        picture(np.zeros((2, 2, 3), dtype=np.uint8), "").pixels[0] = 1


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 4), (0, 2, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="height, width, 3"):
        picture(np.zeros(shape, dtype=np.uint8), "")
