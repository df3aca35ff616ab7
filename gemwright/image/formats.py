"""What kind of file it is, told from its first bytes and never from its name.

Five formats are read. The others that people hold for pictures are recognised so that the refusal can say what to do:
drawings (SVG, PDF) have no pixels until someone chooses a resolution; HEIC, AVIF and JPEG XL depend on how Pillow was
built; TIFF is a family of formats, with pages and dozens of codings, whose decoders have the worst record of all.
"""

from __future__ import annotations

from gemwright.errors import UserError

READ = "PNG, JPEG, WebP, GIF or BMP"

_READ_BY_START = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
}

_EXPORT = "open it in any viewer of pictures and save it as PNG or JPEG"
_REFUSED_BY_START = {
    b"II*\0": ("TIFF", _EXPORT),
    b"MM\0*": ("TIFF", _EXPORT),
    b"II+\0": ("TIFF", _EXPORT),
    b"MM\0+": ("TIFF", _EXPORT),
    b"\0\0\0\x0cjP  ": ("JPEG 2000", _EXPORT),
    b"\xff\x4f\xff\x51": ("JPEG 2000", _EXPORT),
    b"\0\0\0\x0cJXL ": ("JPEG XL", _EXPORT),
    b"\xff\x0a": ("JPEG XL", _EXPORT),
    b"8BPS": ("Photoshop", _EXPORT),
    b"\0\0\1\0": ("icon (ICO)", _EXPORT),
    b"%!PS": ("PostScript", "draw it as a PNG first: gs -sDEVICE=png16m -r150 -o page.png FILE"),
    b"\x1f\x8b": ("gzip", "unpack it first"),
    b"PK\3\4": ("ZIP", "unpack it first; pictures in office documents lie in its folder `media`"),
    b"\x1a\x45\xdf\xa3": ("video (Matroska or WebM)", "save one of its frames as PNG or JPEG"),
}

# The brand of an ISO media file, bytes 8 to 12; every other brand is a film.
_BRANDS = {
    b"heic": "HEIC", b"heix": "HEIC", b"heim": "HEIC", b"heis": "HEIC", b"hevc": "HEIC", b"mif1": "HEIC",
    b"msf1": "HEIC", b"avif": "AVIF", b"avis": "AVIF",
}  # fmt: skip

_LOOK = 1024  # how many of the first bytes are searched for the words of a text format


def recognise(data: bytes, name: str) -> str:
    """The format of `data`, one of `READ`. Raises UserError, with what to do, for anything else."""
    if not data:
        raise UserError(f"{name} is empty", hint="check that it was copied or uploaded whole")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    for start, known in _READ_BY_START.items():
        if data.startswith(start):
            return known
    kind, hint = _refused(data)
    if not kind:
        raise UserError(f"{name} is no picture in a format that is read", hint=f"give a {READ} file")
    raise UserError(f"{name}: {kind} files are not read", hint=hint)


def _refused(data: bytes) -> tuple[str, str]:
    """The kind of a file that is recognised but not read, and what to do; two empty strings for any other."""
    for start, answer in _REFUSED_BY_START.items():
        if data.startswith(start):
            return answer
    if data[4:8] == b"ftyp":
        kind = _BRANDS.get(data[8:12])
        return (kind, _EXPORT) if kind else ("video", "save one of its frames as PNG or JPEG")
    head = data[:_LOOK].lower()
    if b"%pdf-" in head:
        return "PDF", "draw its pages as PNG first: pdftoppm -png -r 150 FILE page"
    text = head.replace(b"\0", b"")  # UTF-16 as well
    if b"<html" in text or b"<!doctype html" in text:
        return "HTML", "it is a web page, perhaps in place of a download that failed: fetch the picture itself"
    if b"<svg" in text:
        return "SVG", "draw it as a PNG first: rsvg-convert -w 1024 -o picture.png FILE"
    return "", ""
