"""Small pictures, and conversations that show them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy
from PIL import Image

from gemwright.data.documents import Conversation
from gemwright.data.pictures import Shown
from gemwright.image.decode import decode
from gemwright.text.turns import Message


def png(seed: int, side: int = 20) -> bytes:
    """A PNG of random pixels."""
    pixels = numpy.random.default_rng(seed).integers(0, 256, size=(side, side, 3), dtype=numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def shown(seed: int, folder: Path | None = None) -> Shown:
    """That picture as a record shows it: by its bytes, or by a file in `folder`."""
    data = png(seed)
    if folder is None:
        return Shown(decode(data).sha256, data)
    path = folder / f"{seed}.png"
    path.write_bytes(data)
    return Shown(decode(data).sha256, path)


def chat(*turns: tuple[str, Sequence[Shown]], name: str = "chat") -> Conversation:
    """Turns of user and model, each with the pictures that it shows."""
    messages = tuple(Message(("user", "model")[at % 2], text, tuple(images)) for at, (text, images) in enumerate(turns))
    return Conversation(name=name, key=name, messages=messages)
