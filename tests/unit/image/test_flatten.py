"""Every mode that Pillow has becomes RGB, or is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gemwright.image.flatten import flatten

GREY = np.array([[0, 100, 255]], dtype=np.uint8)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_opaque_modes_are_converted_as_pillow_converts_them(mode: str) -> None:
    image = Image.fromarray(GREY).convert("RGB").convert(mode)
    flat, see_through = flatten(image.copy(), None)
    np.testing.assert_array_equal(flat, np.asarray(image.convert("RGB")))
    assert not see_through


@pytest.mark.parametrize("mode", ["LA", "La", "RGBA", "RGBa"])
def test_transparency_is_mixed_with_white_in_proportion(mode: str) -> None:
    image = Image.merge("LA", [Image.new("L", (3, 1), 0), Image.fromarray(GREY)]).convert("RGBA")
    image = image.convert(mode) if mode != "La" else image.convert("LA").convert("La")
    flat, see_through = flatten(image, None)
    assert flat[0, :, 0].tolist() == [255, 155, 0]
    assert see_through


def test_an_opaque_alpha_channel_is_not_called_transparent() -> None:
    flat, see_through = flatten(Image.fromarray(GREY).convert("RGBA"), None)
    assert flat[0, :, 2].tolist() == [0, 100, 255]
    assert not see_through


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4"])
def test_the_upper_half_of_16_bits_is_kept(dtype: str) -> None:
    values = (GREY.astype(np.int64) * 257).astype(dtype)
    flat, _ = flatten(Image.fromarray(values), None)
    assert flat[0, :, 1].tolist() == [0, 100, 255]


def test_integers_beyond_16_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 16 bits"):
        flatten(Image.fromarray(np.array([[1, 70_000]], dtype=np.int32)), None)


def test_a_transparent_value_named_by_the_image_is_white() -> None:
    image = Image.fromarray(GREY)
    image.info["transparency"] = 100
    flat, see_through = flatten(image, None)
    assert flat[0, :, 0].tolist() == [0, 255, 255]
    assert see_through


def test_strips_of_a_tall_image_are_joined_without_a_seam() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (700, 5, 4), dtype=np.uint8)
    image = Image.fromarray(rows)
    expected = Image.new("RGB", image.size, "white")
    expected.paste(image, mask=image.getchannel("A"))
    np.testing.assert_array_equal(flatten(image, None)[0], np.asarray(expected))


def test_transparency_in_one_strip_is_transparency() -> None:
    image = Image.new("RGBA", (2, 700), (1, 2, 3, 255))
    image.putpixel((1, 300), (1, 2, 3, 254))
    assert flatten(image, None)[1]
