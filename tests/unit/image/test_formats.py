"""The kind of a file is told from its content, and a refusal says what to do."""

from __future__ import annotations

import io

import pytest
from PIL import Image, features

from gemwright.errors import UserError
from gemwright.image.formats import recognise


def test_every_sample_is_recognised(files: dict[str, bytes]) -> None:
    assert all(recognise(data, name) == name.split()[0] for name, data in files.items())


@pytest.mark.parametrize(
    ("start", "kind", "advice"),
    [
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="x">', "SVG", "rsvg-convert"),
        ("<svg/>".encode("utf-16"), "SVG", "rsvg-convert"),
        (b"%PDF-1.7\n", "PDF", "pdftoppm"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC", "JPEG"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF", "JPEG"),
        (b"\0\0\0\x20ftypisom\0\0\0\0", "video", "frame"),
        (b"II*\0\x08\0\0\0", "TIFF", "PNG"),
        (b"<!DOCTYPE html><html><svg>", "HTML", "fetch"),
        (b"\x1f\x8b\x08", "gzip", "unpack"),
    ],
)
def test_files_that_are_not_read_are_refused_by_name(start: bytes, kind: str, advice: str) -> None:
    with pytest.raises(UserError) as refusal:
        recognise(start, "this")
    assert kind in refusal.value.message
    assert advice in refusal.value.hint


@pytest.mark.skipif(not features.check("avif"), reason="Pillow was built without AVIF")
def test_a_real_avif_is_refused_by_name() -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "AVIF")
    with pytest.raises(UserError, match="AVIF files are not read"):
        recognise(file.getvalue(), "this")


@pytest.mark.parametrize("data", [b"\0", b"hello", b"RIFF\0\0\0\0WAVE", b"\x89PNG\n", b"B"])
def test_anything_else_is_no_picture(data: bytes) -> None:
    with pytest.raises(UserError, match="no picture"):
        recognise(data, "this")
