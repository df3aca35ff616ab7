"""What a picture file says of itself, read before anything is decoded.

Each reader walks over the parts of its format and returns the declared size together with a smaller file: only the
parts that the pixels need, of an animation only the first frame. So limits hold before a decoder allocates anything,
and the decoder never sees comments, colour profiles or animations: the parts in which hostile files hide most.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from zlib import crc32

# A PNG of 32 MB in parts of 1 kB has a third of this. Beyond, a file of empty parts would keep the reader busy for
# seconds.
_MOST_PARTS = 100_000


class CutShort(Exception):
    """The file ends before the picture does."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file declares: `size` (width, height) in pixels, `frames` (those of a GIF counted up to the limit and one
    more), `scans` of a JPEG (otherwise 1). `data` is the file reduced to what its pixels need. `exif` is its EXIF block
    or b"". `key` holds the samples that stand for transparency in a PNG without alpha, scaled to 8 bits (as they are in
    a grey picture of 16 bits). `notes` says what had to be left out.
    """

    size: tuple[int, int]
    data: bytes
    frames: int = 1
    scans: int = 1
    exif: bytes = b""
    key: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()


def read_header(kind: str, data: bytes, most_frames: int) -> Header:
    """The header of `data`, a file of the format `kind`, with frames counted up to `most_frames` + 1.

    Raises CutShort, ValueError, struct.error or IndexError for a file that ends early or is damaged.
    """
    if kind == "PNG":
        return _png(data)
    if kind == "JPEG":
        return _jpeg(data)
    if kind == "GIF":
        return _gif(data, most_frames)
    if kind == "WebP":
        return _webp(data)
    return _bmp(data)


# ---------------------------------------------------------------------------------------------------------------------
# PNG: chunks of length, name, content and checksum


def _png_chunks(data: bytes) -> dict[bytes, list[bytes]]:
    """The contents of the chunks that matter, by name and in order, their checksums tested."""
    found: dict[bytes, list[bytes]] = {}
    place = 8
    for _ in range(_MOST_PARTS):
        if place + 12 > len(data):
            raise CutShort
        length, name = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + length]
        place += 12 + length
        if place > len(data):
            raise CutShort
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"acTL"):
            if crc32(name + content) != struct.unpack_from(">I", data, place - 4)[0]:
                raise ValueError(f"wrong checksum of the chunk {name.decode()}")
            found.setdefault(name, []).append(content)
        if name == b"IEND":
            return found
    raise ValueError(f"more than {_MOST_PARTS} chunks")


def _png(data: bytes) -> Header:
    found = _png_chunks(data)
    head = found[b"IHDR"][0] if b"IHDR" in found else b""
    if len(head) != 13 or b"IDAT" not in found:
        raise ValueError("a part is missing")
    width, height, depth, colour = struct.unpack_from(">IIBB", head)
    if depth not in (1, 2, 4, 8, 16):
        raise ValueError(f"{depth} bits per sample")
    key, notes = None, ()
    if b"tRNS" in found and colour in (0, 2):  # grey or colour: one transparent value, in samples of `depth` bits
        samples = struct.unpack_from(">H" if colour == 0 else ">HHH", found[b"tRNS"][0])
        if (colour, depth) == (2, 16):
            notes = ("the transparent colour of a picture with 16 bits per sample is shown, not left out",)
        else:
            key = tuple(sample * 255 // (2**depth - 1) if depth < 8 else sample for sample in samples)
    kept = [_chunk(b"IHDR", head)]
    kept += [_chunk(name, found[name][0]) for name in (b"PLTE", b"tRNS") if name in found and colour not in (0, 2)]
    kept += [_chunk(b"IDAT", b"".join(found[b"IDAT"])), _chunk(b"IEND", b"")]
    return Header(
        size=(width, height),
        data=data[:8] + b"".join(kept),
        frames=struct.unpack_from(">I", found[b"acTL"][0])[0] if b"acTL" in found else 1,
        exif=found.get(b"eXIf", [b""])[0],
        key=key,
        notes=notes,
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc32(name + content))


# ---------------------------------------------------------------------------------------------------------------------
# JPEG: segments of marker, length and content, then the scans

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_APPLICATION = range(0xE0, 0xF0)
_COMMENT = 0xFE
_OUT_OF_PLACE = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})  # before the first scan
_COLOUR = (0xE0, 0xEE)  # JFIF's and Adobe's segments say how colours are coded


def _jpeg(data: bytes) -> Header:
    size, exif, kept, place = None, b"", [data[:2]], 2
    for _ in range(_MOST_PARTS):
        if data[place] != 0xFF:
            raise ValueError(f"no marker at byte {place}")
        while data[place] == 0xFF:  # any number of these may stand before a marker
            place += 1
        marker = data[place]
        (length,) = struct.unpack_from(">H", data, place + 1)
        content = data[place + 3 : place + 1 + length]
        if marker == _START_OF_SCAN:
            if size is None:
                raise ValueError("a scan before the size")
            kept.append(data[place - 1 :])
            # Within a scan a byte 0xFF is followed by 0, so that these two bytes are always a marker.
            return Header(size=size, data=b"".join(kept), exif=exif, scans=data.count(b"\xff\xda", place - 1))
        if length < 2 or marker in _OUT_OF_PLACE:
            raise ValueError(f"the marker {marker:#x} at byte {place}")
        if len(content) != length - 2:
            raise CutShort
        if marker in _START_OF_FRAME:
            if size is not None:
                raise ValueError("two sizes")
            height, width = struct.unpack_from(">HH", content, 1)
            size = width, height
        if marker == 0xE1 and content.startswith(b"Exif\0\0") and not exif:
            exif = content
        if marker in _COLOUR or (marker not in _APPLICATION and marker != _COMMENT):
            kept.append(data[place - 1 : place + 1 + length])
        place += 1 + length
    raise ValueError(f"more than {_MOST_PARTS} segments")


# ---------------------------------------------------------------------------------------------------------------------
# GIF: a screen, then extensions and frames made of blocks of at most 255 bytes

_CONTROL = 0xF9  # the extension that names a frame's transparent colour


def _gif(data: bytes, most_frames: int) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    place = 13 + _palette(flags)
    kept, control, frames = [data[:place]], b"", 0
    while place < len(data) and frames <= most_frames:
        start, kind = place, data[place]
        if kind == 0x21:
            place = _past_blocks(data, start + 2, frames)
            if data[start + 1] == _CONTROL and data[start + 2] == 4 and not frames:
                # Only "there is a transparent colour" and which; not what becomes of the frame later on.
                control = b"\x21\xf9\4" + bytes([data[start + 3] & 1, 0, 0, data[start + 6], 0])
        elif kind == 0x2C:
            left, top, across, down, flags = struct.unpack_from("<HHHHB", data, start + 1)
            place = _past_blocks(data, start + 11 + _palette(flags), frames)
            if not frames:
                kept += [control, data[start:place]]
                width, height = max(width, left + across), max(height, top + down)  # as every viewer does
            frames += 1
        elif kind == 0x3B or frames:
            break  # the end, or rubbish after the first frame
        else:
            raise ValueError(f"the block {kind:#x} at byte {start}")
    if not frames:
        raise CutShort
    return Header(size=(width, height), data=b"".join(kept) + b"\x3b", frames=frames)


def _palette(flags: int) -> int:
    """Bytes of the palette that `flags` announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _past_blocks(data: bytes, place: int, frames: int) -> int:
    """The place after the empty block that ends the blocks at `place`, or the file's end if the first frame is whole:
    later frames are only counted."""
    end = len(data)
    while place < end and data[place]:
        place += 1 + data[place]
    if place >= end and not frames:
        raise CutShort
    return place + 1


# ---------------------------------------------------------------------------------------------------------------------
# WebP: chunks of name, length and content in one RIFF chunk


def _webp(data: bytes) -> Header:
    (length,) = struct.unpack_from("<I", data, 4)
    if length + 8 > len(data):
        raise CutShort
    first = data[12:16]
    if first == b"VP8X":
        low, high = struct.unpack_from("<IH", data, 24)  # two numbers of 24 bits
        size = (low & 0xFFFFFF) + 1, (low >> 24 | high << 8) + 1
    elif first == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif first == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        size = width & 0x3FFF, height & 0x3FFF
    else:
        raise ValueError("a part is missing")
    frames, exif, place = 0, b"", 12
    for _ in range(_MOST_PARTS):
        if place > length:
            break
        name, bytes_of_chunk = struct.unpack_from("<4sI", data, place)
        frames += name == b"ANMF"
        if name == b"EXIF" and not exif:
            exif = data[place + 8 : place + 8 + bytes_of_chunk]
        place += 8 + bytes_of_chunk + bytes_of_chunk % 2
    else:
        raise ValueError(f"more than {_MOST_PARTS} chunks")
    return Header(size=size, data=data[: length + 8], frames=max(1, frames), exif=exif)


# ---------------------------------------------------------------------------------------------------------------------
# BMP: one header, then rows

_PLAIN, _BIT_FIELDS, _BIT_FIELDS_ALPHA = 0, 3, 6


def _bmp(data: bytes) -> Header:
    (length,) = struct.unpack_from("<I", data, 14)
    if length == 12:  # of OS/2
        return Header(size=struct.unpack_from("<HH", data, 18), data=data)
    width, height = struct.unpack_from("<ii", data, 18)
    (coding,) = struct.unpack_from("<I", data, 30)
    if coding not in (_PLAIN, _BIT_FIELDS, _BIT_FIELDS_ALPHA):
        # Pillow decodes run lengths in Python, byte by byte: minutes for a large file.
        raise ValueError("a compressed BMP; save it as PNG")
    return Header(size=(width, abs(height)), data=data)  # below 0: the rows run from top to bottom
