"""Files become pictures, or refusals that say why."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from gemwright.errors import UserError
from gemwright.image.decode import decode
from gemwright.image.header import Header
from gemwright.image.limits import LIMITS

LOSSLESS = ["PNG colour", "PNG animated", "WebP lossless", "BMP"]


def image(width: int = 40, height: int = 28) -> Image.Image:
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([columns * 6 % 256, rows * 9 % 256, columns + rows], axis=2).astype(np.uint8))


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *, key: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    middle = chunk(b"tRNS", key) if key else b""
    return b"\x89PNG\r\n\x1a\n" + head + middle + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# ---------------------------------------------------------------------------------------------------------------------
# What is read


def test_every_sample_is_decoded(files: dict[str, bytes]) -> None:
    turned = {"PNG alpha", "JPEG colour"}  # their EXIF asks for a quarter turn
    for name, data in files.items():
        found = decode(data)
        assert found.pixels.shape == ((40, 28, 3) if name in turned else (28, 40, 3)), name


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_yield_the_pixels_that_were_saved(name: str, files: dict[str, bytes]) -> None:
    assert decode(files[name]).sha256 == decode(files["PNG colour"]).sha256


def test_a_jpeg_is_decoded_as_pillow_decodes_it(files: dict[str, bytes]) -> None:
    for name in ("JPEG progressive", "JPEG grey", "JPEG CMYK"):
        expected = Image.open(io.BytesIO(files[name])).convert("RGB")
        np.testing.assert_array_equal(decode(files[name]).pixels, np.asarray(expected), err_msg=name)


def test_a_path_a_string_bytes_and_an_image_yield_one_picture(tmp_path: Path) -> None:
    path = tmp_path / "without an ending"
    path.write_bytes(encoded(image(), "PNG"))
    sources = [path, str(path), path.read_bytes(), image(), Image.open(path)]
    assert len({decode(source) for source in sources}) == 1


def test_an_image_that_pillow_opened_is_turned_upright_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(image(), "JPEG", exif=exif)
    opened = Image.open(io.BytesIO(data))
    assert decode(opened) == decode(data)
    assert decode(ImageOps.exif_transpose(opened)) == decode(data)


def test_messages_call_a_picture_by_its_path_or_given_name(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(image(), "PNG"))
    assert decode(path).name == str(path)
    with pytest.raises(UserError, match="picture 2 is empty"):
        decode(b"", name="picture 2")


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_orientation_of_the_camera_is_applied(kind: str, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(image(), kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    np.testing.assert_array_equal(decode(data).pixels, np.asarray(expected))
    assert any("upright" in note for note in decode(data).notes) == (turn != 1)


def test_damaged_exif_leaves_the_picture_as_it_is() -> None:
    data = encoded(image(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 20)
    assert decode(data) == decode(encoded(image(), "JPEG"))


def test_an_animation_shows_its_first_frame_and_says_so(files: dict[str, bytes]) -> None:
    for name in ("PNG animated", "GIF animated", "WebP animated"):
        found = decode(files[name])
        assert found.notes == (f"an animated {name.split()[0]}: the first of its 3 frames is taken",)
        first = Image.open(io.BytesIO(files[name])).convert("RGB")
        np.testing.assert_array_equal(found.pixels, np.asarray(first), err_msg=name)


def test_a_single_pixel_is_a_picture_with_a_note() -> None:
    found = decode(encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"))
    assert found.pixels.tolist() == [[[1, 2, 3]]]
    assert found.notes == ("only 1 × 1 pixels: there is hardly anything to see",)


def test_an_ordinary_picture_has_no_notes() -> None:
    assert decode(encoded(image(), "PNG")).notes == ()


def test_transparency_lies_over_white_and_is_noted(files: dict[str, bytes]) -> None:
    for name in ("PNG alpha", "PNG grey, alpha", "PNG palette", "PNG palette, alpha", "GIF transparent", "WebP alpha"):
        layer = ImageOps.exif_transpose(Image.open(io.BytesIO(files[name]))).convert("RGBA")
        expected = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
        found = decode(files[name])
        assert np.abs(found.pixels.astype(int) - np.asarray(expected)).max() <= 1, name
        assert "transparent parts lie over white" in found.notes, name


@pytest.mark.parametrize(("depth", "row"), [(1, 0b01000000), (2, 0b00011011), (4, 0x01), (8, 0)])
def test_the_transparent_grey_of_a_png_is_white_at_every_depth(depth: int, row: int) -> None:
    """The first pixel is 0, the second is not; 0 is transparent. (Then 1 is: the second is white.)"""
    rows = bytes([0, row, 1]) if depth == 8 else bytes([0, row])
    first = decode(png(2, 1, depth, 0, rows, key=b"\0\0")).pixels[0, :, 0]
    second = decode(png(2, 1, depth, 0, rows, key=b"\0\1")).pixels[0, :, 0]
    one = 255 // (2**depth - 1)
    assert (first.tolist(), second.tolist()) == ([255, one], [0, 255])


def test_the_transparent_colour_of_a_png_is_white() -> None:
    found = decode(png(2, 1, 8, 2, bytes([0, 9, 8, 7, 9, 8, 6]), key=struct.pack(">HHH", 9, 8, 7)))
    assert found.pixels.tolist() == [[[255] * 3, [9, 8, 6]]]


def test_16_bits_are_scaled_to_8_in_grey_and_in_colour() -> None:
    values = struct.pack(">B3H", 0, 0x0000, 0x80FF, 0xFFFF)
    assert decode(png(3, 1, 16, 0, values)).pixels[0, :, 1].tolist() == [0, 0x80, 0xFF]
    assert decode(png(1, 1, 16, 2, values)).pixels[0, 0].tolist() == [0, 0x80, 0xFF]


def test_the_transparent_value_of_a_16_bit_png_is_seen_or_noted() -> None:
    values = struct.pack(">B3H", 0, 0x0000, 0x80FF, 0x80FE)
    found = decode(png(3, 1, 16, 0, values, key=b"\x80\xff"))
    assert found.pixels[0, :, 1].tolist() == [0, 255, 0x80]
    assert "16 bits" in decode(png(1, 1, 16, 2, values, key=values[1:])).notes[0]


def test_a_bmp_whose_rows_run_downwards_is_not_upside_down(files: dict[str, bytes]) -> None:
    data = bytearray(files["BMP"])
    struct.pack_into("<i", data, 22, -28)
    np.testing.assert_array_equal(decode(bytes(data)).pixels, decode(files["BMP"]).pixels[::-1])


def test_rubbish_after_a_picture_is_ignored(files: dict[str, bytes]) -> None:
    for name, data in files.items():
        assert decode(data + b"rubbish" * 9) == decode(data), name


# ---------------------------------------------------------------------------------------------------------------------
# What is refused


def test_a_file_cut_short_is_refused_as_such(files: dict[str, bytes]) -> None:
    for name, data in files.items():
        if "animated" in name:
            continue  # its first frame may be whole
        for share in (0.2, 0.5, 0.8):
            with pytest.raises(UserError, match="cut short"):
                decode(data[: int(len(data) * share)])
                pytest.fail(f"{name} at {share}")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WebP", "BMP"])
def test_the_start_of_a_file_alone_is_refused_as_cut_short(kind: str, files: dict[str, bytes]) -> None:
    data = next(data for name, data in files.items() if name.startswith(kind))
    for length in range(12, 31):
        with pytest.raises(UserError, match="cut short"):
            decode(data[:length])


def test_a_changed_byte_of_a_png_is_refused_as_damage(files: dict[str, bytes]) -> None:
    data = bytearray(files["PNG colour"])
    data[data.index(b"IDAT") + 9] ^= 0xFF
    with pytest.raises(UserError, match=r"PNG file is damaged.*checksum"):
        decode(bytes(data))


def declared(kind: str, width: int, height: int) -> bytes:
    """A small file that declares `width` × `height` pixels."""
    data = bytearray(encoded(image(), "WEBP" if kind == "WebP" else kind))
    if kind == "PNG":
        return png(width, height, 8, 2, b"\0" * 100)
    if kind == "JPEG":
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    if kind == "GIF":
        struct.pack_into("<HH", data, 6, width, height)
    if kind == "BMP":
        struct.pack_into("<ii", data, 18, width, height)
    if kind == "WebP":
        head = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
        rest = b"VP8X" + struct.pack("<II", 10, 0) + head + bytes(data[12:])
        return b"RIFF" + struct.pack("<I", len(rest) + 4) + b"WEBP" + rest
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WebP", "BMP"])
def test_a_bomb_is_refused_by_what_it_declares(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemwright.image.decode._DECODERS", {})  # no decoder is called
    with pytest.raises(UserError, match="20000 × 16000 pixels, more than 52 million"):
        decode(declared(kind, 20_000, 16_000))
    with pytest.raises(UserError, match="40000 × 28 pixels, more than 30000 on a side"):
        decode(declared(kind, 40_000, 28))


def test_a_bomb_that_pillow_holds_is_refused_before_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(image(), "PNG")
    opened = Image.open(io.BytesIO(data))
    monkeypatch.setattr(opened, "load", lambda: pytest.fail("loaded"))
    with pytest.raises(UserError, match="40 × 28 pixels"):
        decode(opened, replace(LIMITS, pixels=1000))


def test_a_picture_between_pillows_two_bomb_limits_warns_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)  # 40 × 28 is more, less than twice that
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP"):
        assert decode(encoded(image(), kind)).width == 40


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "BMP"])
def test_a_picture_of_no_pixels_is_refused(kind: str) -> None:
    with pytest.raises(UserError, match="0 × 3 pixels: nothing to see"):
        decode(declared(kind, 0, 3) if kind != "GIF" else b"GIF89a\0\0\3\0\0\0\0,\0\0\0\0\0\0\0\0\0\2\1\0\0;")


def test_a_large_file_is_refused_without_reading_it_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, file = tmp_path / "large.png", io.BytesIO(bytes(5000))
    path.touch()
    monkeypatch.setattr(Path, "open", lambda path, mode: contextlib.nullcontext(file))
    with pytest.raises(UserError, match="more than 1000 bytes"):
        decode(path, replace(LIMITS, bytes=1000))
    assert file.tell() == 1001


def test_a_picture_of_another_size_than_its_header_declared_is_refused(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    header = Header(size=(1, 1), data=files["PNG colour"])
    monkeypatch.setattr("gemwright.image.decode.read_header", lambda *arguments: header)
    with pytest.raises(UserError, match="two sizes"):
        decode(files["PNG colour"])


def test_a_png_of_no_bits_is_refused() -> None:
    with pytest.raises(UserError, match="0 bits per sample"):
        decode(png(1, 1, 0, 0, b"\0\0", key=b"\0\0"))


def test_a_film_is_refused(files: dict[str, bytes]) -> None:
    for name in ("PNG animated", "GIF animated", "WebP animated"):
        with pytest.raises(UserError, match="more than 2 frames"):
            decode(files[name], replace(LIMITS, frames=2))


def test_a_jpeg_of_many_scans_is_refused(files: dict[str, bytes]) -> None:
    data = files["JPEG progressive"]
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert decode(data).width == 40
    with pytest.raises(UserError, match=r"\d{3} scans, more than 40"):
        decode(data[:-2] + scan * 200 + data[-2:])


def test_a_compressed_bmp_is_refused_with_advice(files: dict[str, bytes]) -> None:
    data = bytearray(files["BMP palette"])
    struct.pack_into("<I", data, 30, 1)
    with pytest.raises(UserError, match="compressed BMP; save it as PNG"):
        decode(bytes(data))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no/such/file.png", "no such file"),
        ("/", "not a file"),
        ("https://example.org/a.png", "an address, not a file"),
        (Path("https://example.org/a.png"), "an address, not a file"),
        (Path("data:image/png;base64," + 400 * "A"), "an address, not a file"),
        ("a\0b", "no such file|null byte"),
        ("~nobody-of-that-name/a.png", "home directory"),
    ],
)
def test_a_path_that_leads_to_no_file_is_refused(source: str | Path, message: str) -> None:
    with pytest.raises(UserError, match=message):
        decode(source)


def test_an_image_of_real_numbers_is_refused() -> None:
    with pytest.raises(UserError, match="real numbers"):
        decode(Image.new("F", (20, 20)))


def test_an_image_that_pillow_opened_and_cannot_load_is_refused(files: dict[str, bytes]) -> None:
    opened = Image.open(io.BytesIO(files["JPEG grey"][:-60]))
    with pytest.raises(UserError, match=r"cannot be read .*truncated"):
        decode(opened)


def test_a_decoded_image_of_the_caller_is_not_changed() -> None:
    given = image().quantize(8)
    given.info["transparency"] = 3
    decode(given)
    assert (given.mode, given.info["transparency"]) == ("P", 3)


def slow_files(files: dict[str, bytes]) -> dict[str, bytes]:
    """Files of a few megabytes that cost most where a format is walked over in small steps."""
    png, gif, webp = files["PNG colour"], files["GIF"], files["WebP animated"]
    start, empty = png.index(b"IDAT") - 4, b"ABCD\0\0\0\0" * 500_000
    first = 13 + (3 << (gif[10] & 7) + 1)  # the end of the palette
    return {
        "empty PNG chunks": png[:start] + chunk(b"IDAT", b"") * 500_000 + png[start:],
        "JPEG comments": b"\xff\xd8" + b"\xff\xfe\0\2" * 2_000_000 + files["JPEG colour"][2:],
        "JPEG filling": b"\xff\xd8" + b"\xff" * 4_000_000 + files["JPEG colour"][2:],
        "GIF comment": gif[:first] + b"!\xfe" + (b"\xff" + b"x" * 255) * 16_000 + b"\0" + gif[first:],
        "GIF comment of single bytes": gif[:first] + b"!\xfe" + b"\1x" * 2_000_000 + b"\0" + gif[first:],
        "GIF comment after the frame": gif[:-1] + b"!\xfe" + b"\1x" * 2_000_000 + b"\0;",
        "WebP chunks": b"RIFF" + struct.pack("<I", len(webp) - 8 + len(empty)) + webp[8:] + empty,
    }


def test_files_made_of_tiny_parts_are_answered_within_two_seconds(files: dict[str, bytes]) -> None:
    for name, data in slow_files(files).items():
        start = time.process_time()
        with contextlib.suppress(UserError):
            decode(data)
        assert time.process_time() - start < 2, name


def test_a_comment_of_any_length_does_no_harm(files: dict[str, bytes]) -> None:
    slow = slow_files(files)
    for name in ("GIF comment", "GIF comment of single bytes", "GIF comment after the frame"):
        assert decode(slow[name]) == decode(files["GIF"]), name
