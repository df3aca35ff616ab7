"""What a file declares, and that only what its pixels need reaches a decoder."""

from __future__ import annotations

import pytest

from gemwright.image.header import CutShort, read_header
from gemwright.image.limits import LIMITS


def test_every_format_declares_its_size(files: dict[str, bytes]) -> None:
    for name, data in files.items():
        assert read_header(name.split()[0], data, LIMITS.frames).size == (40, 28), name


def test_comments_and_later_frames_do_not_reach_the_decoder(files: dict[str, bytes]) -> None:
    for name in ("PNG animated", "JPEG colour", "GIF transparent", "GIF animated"):
        reduced = read_header(name.split()[0], files[name], LIMITS.frames).data
        assert len(reduced) < len(files[name]), name
        assert not any(word in reduced for word in (b"hello", b"Exif", b"NETSCAPE", b"acTL")), name


def test_frames_of_a_gif_are_counted_to_one_above_the_limit(files: dict[str, bytes]) -> None:
    counted = [read_header("GIF", files["GIF animated"], most).frames for most in (0, 1, 2, 3, 9)]
    assert counted == [1, 2, 3, 3, 3]


def test_a_gif_cut_short_in_its_second_frame_is_whole_in_the_first(files: dict[str, bytes]) -> None:
    data = files["GIF animated"]
    one = read_header("GIF", data, LIMITS.frames)
    cut = read_header("GIF", data[: int(len(data) * 0.8)], LIMITS.frames)
    assert cut.data == one.data


def test_a_gif_cut_short_in_its_first_frame_is_cut_short(files: dict[str, bytes]) -> None:
    with pytest.raises(CutShort):
        read_header("GIF", files["GIF"][:-40], LIMITS.frames)


def test_the_exif_block_is_handed_on(files: dict[str, bytes]) -> None:
    found = {name for name, data in files.items() if read_header(name.split()[0], data, LIMITS.frames).exif}
    assert found == {"PNG alpha", "JPEG colour", "WebP"}


def test_a_frame_beyond_a_gifs_screen_widens_it(files: dict[str, bytes]) -> None:
    data = bytearray(files["GIF"])
    data[6:10] = b"\1\0\1\0"
    assert read_header("GIF", bytes(data), 1).size == (40, 28)


def test_a_second_size_in_a_jpeg_is_refused(files: dict[str, bytes]) -> None:
    data = files["JPEG grey"]
    start = data.index(b"\xff\xc0")
    segment = data[start : start + 13]
    with pytest.raises(ValueError, match="two sizes"):
        read_header("JPEG", data[:start] + segment + data[start:], 1)


def test_a_png_without_its_last_chunk_is_cut_short(files: dict[str, bytes]) -> None:
    with pytest.raises(CutShort):
        read_header("PNG", files["PNG colour"][:-12], 1)
