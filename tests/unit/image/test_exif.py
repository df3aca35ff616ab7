"""The orientation in an EXIF block."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from gemwright.image.exif import orientation, upright


def block(order: str, value: int, *, kind: int = 3) -> bytes:
    entry = struct.pack(order + "HHIHH", 0x0112, kind, 1, value, 0)
    other = struct.pack(order + "HHII", 0x0100, 4, 1, 77)
    mark = {"<": b"II", ">": b"MM"}[order]
    return mark + struct.pack(order + "HIH", 42, 8, 2) + other + entry + b"\0\0\0\0"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("start", [b"", b"Exif\0\0"])
def test_both_byte_orders_are_read_with_and_without_the_prefix(order: str, start: bytes) -> None:
    assert [orientation(start + block(order, value)) for value in range(1, 9)] == list(range(1, 9))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_a_value_without_meaning_is_upright(value: int) -> None:
    assert orientation(block("<", value)) == 1


@given(st.binary(max_size=60), st.integers(0, 60))
def test_no_block_makes_it_fail(rubbish: bytes, keep: int) -> None:
    assert 1 <= orientation(block(">", 6)[:keep] + rubbish) <= 8


@pytest.mark.parametrize("turn", range(1, 9))
def test_pixels_are_turned_as_pillow_turns_them(turn: int) -> None:
    image = Image.fromarray(np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3))
    image.getexif()[0x0112] = turn
    np.testing.assert_array_equal(upright(np.asarray(image), turn), np.asarray(ImageOps.exif_transpose(image)))
