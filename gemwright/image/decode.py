"""A file, bytes or a Pillow image become a picture, or a refusal that says why and what to do.

Read are PNG, JPEG, WebP, GIF and BMP, told apart by content. EXIF's orientation is applied; transparency is laid over
white; of an animation the first frame is taken. Nothing here warns: what is worth knowing stands in `Picture.notes`.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from gemwright.errors import UserError
from gemwright.image.exif import UPRIGHT, orientation, upright
from gemwright.image.flatten import flatten
from gemwright.image.formats import READ, recognise
from gemwright.image.header import CutShort, Header, read_header
from gemwright.image.limits import LIMITS, Limits
from gemwright.image.picture import Picture, picture

# The decoders by name, and not `Image.open`, which warns of large pictures and tries formats that are not read.
_DECODERS: dict[str, type[ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}
_TINY = 16  # pixels: a side below this holds hardly anything to see


def decode(source: str | Path | bytes | Image.Image, limits: Limits = LIMITS, *, name: str = "") -> Picture:
    """The picture in a file (a path), in the bytes of a file, or in an image that Pillow holds.

    `name` is what messages call it (default: the path, or "the picture"). Raises UserError if the file is missing,
    empty, of a format that is not read, cut short, damaged or beyond `limits`.
    """
    if isinstance(source, Image.Image):
        return _from_pillow(source, limits, name or "the picture")
    if isinstance(source, bytes):
        name, data = name or "the picture", source
    else:
        name, data = name or str(source), _read(source, limits)
    if len(data) > limits.bytes:
        raise UserError(f"{name} has more than {limits.bytes} bytes", hint="save it as JPEG, or make it smaller")
    kind = recognise(data, name)
    try:
        header = read_header(kind, data, limits.frames)
    except (CutShort, ValueError, IndexError, struct.error) as error:
        raise _unreadable(name, kind, error) from error
    _check(name, header, limits)
    try:
        pixels, see_through = _pixels(kind, header)
    except Exception as error:  # whatever a decoder raises over hostile bytes: the file is not what it should be
        raise _unreadable(name, kind, error) from error
    notes = _notes(kind, header) + header.notes
    return _finish(pixels, name, header.exif, see_through, notes)


def _pixels(kind: str, header: Header) -> tuple[np.ndarray, bool]:
    """The pixels of a file as they are stored, and whether any was transparent."""
    image = _DECODERS[kind](io.BytesIO(header.data))
    if image.size != header.size:  # the decoder would allocate what nobody has checked
        raise ValueError("two parts of the file declare two sizes")
    image.load()
    return flatten(image, header.key)


def _from_pillow(image: Image.Image, limits: Limits, name: str) -> Picture:
    """Of an image that Pillow has opened: the frame that it stands at."""
    _check(name, Header(size=image.size, data=b""), limits)
    try:
        image.load()
        pixels, see_through = flatten(image.copy(), None)
    except Exception as error:  # an image that is opened lazily is decoded only now
        message = f"{name}: this image cannot be read ({error})"
        raise UserError(message, hint="load it whole, convert it to RGB and try again") from error
    exif = image.info.get("exif", b"")
    return _finish(pixels, name, exif if isinstance(exif, bytes) else b"", see_through, ())


def _finish(pixels: np.ndarray, name: str, exif: bytes, see_through: bool, notes: tuple[str, ...]) -> Picture:
    """`pixels` turned upright, with the notes that hold for any source."""
    turn = orientation(exif)
    if turn != UPRIGHT:
        pixels = upright(pixels, turn)
        notes += (f"turned upright, as the camera noted (EXIF orientation {turn})",)
    if see_through:
        notes += ("transparent parts lie over white",)
    height, width = pixels.shape[:2]
    if min(width, height) < _TINY:
        notes += (f"only {width} × {height} pixels: there is hardly anything to see",)
    return picture(pixels, name, notes)


def _read(source: str | Path, limits: Limits) -> bytes:
    """The bytes of a file, at most one more than the limit."""
    said = str(source)
    if said.lower().startswith(("http:/", "https:/", "data:")):  # as a `Path`, an address has lost a slash
        raise UserError(f"{said[:60]} is an address, not a file", hint="download the picture and give its path")
    try:
        path = Path(source).expanduser()
        if not path.is_file():  # a pipe could be waited for in vain
            raise UserError(
                f"{source}: {'not a file' if path.exists() else 'no such file'}",
                hint=f"give the path of a {READ} file",
            )
        with path.open("rb") as file:
            return file.read(limits.bytes + 1)
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the path, a home that nobody has
        raise UserError(f"{source!s}: {error}", hint="check the path and the right to read it") from error


def _check(name: str, header: Header, limits: Limits) -> None:
    """Raises UserError if what the file declares is nothing, or beyond the limits."""
    width, height = header.size
    if width < 1 or height < 1:
        raise UserError(f"{name} has {width} × {height} pixels: nothing to see", hint="save it anew as PNG or JPEG")
    smaller = "make it smaller: the model sees far fewer pixels than that"
    if width * height > limits.pixels:
        raise UserError(f"{name} has {width} × {height} pixels, more than {limits.pixels / 1e6:g} million", smaller)
    if max(width, height) > limits.side:
        raise UserError(f"{name} has {width} × {height} pixels, more than {limits.side} on a side", smaller)
    if header.frames > limits.frames:
        raise UserError(f"{name} has more than {limits.frames} frames", "save one of its frames as PNG or JPEG")
    if header.scans > limits.scans:
        raise UserError(f"{name} has {header.scans} scans, more than {limits.scans}", "save it anew as JPEG or PNG")


def _unreadable(name: str, kind: str, error: Exception) -> UserError:
    """The refusal of a file that is damaged or ends too early."""
    if isinstance(error, CutShort | EOFError | IndexError | struct.error) or "truncated" in str(error).lower():
        message = f"{name}: this {kind} file is cut short"
    else:
        message = f"{name}: this {kind} file is damaged ({error})"
    return UserError(message, hint="copy or download it again, or save it anew as PNG or JPEG")


def _notes(kind: str, header: Header) -> tuple[str, ...]:
    """What a person may not expect of an animation."""
    if header.frames < 2:
        return ()
    return (f"an animated {kind}: the first of its {header.frames} frames is taken",)
