"""Pictures of chat records: what names them in a record, what they are known by, and their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from gemwright.data.records import Malformed
from gemwright.errors import UserError
from gemwright.image.data_url import data_url, is_data_url, read_data_url
from gemwright.image.decode import decode
from gemwright.image.picture import Picture
from gemwright.image.resize import pixels
from gemwright.text.pieces import START_OF_IMAGE

IMAGES = "images"  # the field of a message that lists its pictures
_TEXTS, _PICTURES = ("text", "input_text"), ("image", "image_url", "input_image")


class Shown(NamedTuple):
    """A picture of a message. `sha256`: the fingerprint of its size and pixels, whatever file they came from;
    `source`: that file, or, where the record itself held the picture, the file's bytes."""

    sha256: str
    source: Path | bytes

    def open(self) -> Picture:
        """The picture itself. Raises `UserError` where its file is gone, damaged or another picture by now."""
        found = decode(self.source)
        if found.sha256 != self.sha256:
            raise UserError(
                f"{found.name} is not the picture that it was when the texts were read",
                hint="put the old picture back, or start again in another folder",
            )
        return found

    def pixels(self, side: int) -> numpy.ndarray:
        """float32 `[3, side, side]` as an encoder takes them; see `image.resize`. Raises as `open` does."""
        return pixels(self.open(), side)


class Looker:
    """Reads what messages show. `folder`: what paths in the records are relative to.

    A file that many records name is decoded once. Every picture is decoded when it is read, so that a broken one is
    met with its record and not in the middle of a run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._seen: dict[Path, Shown] = {}

    def look(self, named: Any) -> Shown:
        """The picture of that path or `data:` URL. Raises `Malformed` for what names none, or none that can be read."""
        if not isinstance(named, str) or not named:
            hint = f'write {{"{IMAGES}": ["picture.png"]}}, with paths relative to the file, or data: URLs'
            raise Malformed("picture", f"{str(named)[:60]!r} names no picture", hint)
        try:
            if is_data_url(named):
                data = read_data_url(named)
                return Shown(decode(data, name="the picture of a data: URL").sha256, data)
            path = self._folder / named
            if path not in self._seen:
                # The string as it is where it is an address: decode says why that is refused.
                self._seen[path] = Shown(decode(named if "://" in named else path).sha256, path)
            return self._seen[path]
        except UserError as error:
            raise Malformed("picture", error.message, error.hint) from error

    def content(self, index: int, message: dict[str, Any]) -> tuple[str, tuple[Shown, ...]]:
        """The text and the pictures of the message of that `index`, as `text.turns.Message` has them: `content` (or
        `text`) is a text, or a list of texts and pictures as OpenAI's interface has them; `images` lists paths and
        `data:` URLs, of pictures that stand before the text or where it says `<start_of_image>`. Raises `Malformed`."""
        said, images = message.get("content", message.get("text")), message.get(IMAGES) or []
        if not isinstance(images, list):
            raise Malformed("picture", f"message {index} has {IMAGES!r} that are no list", 'write ["picture.png"]')
        shown = [self.look(one) for one in images]
        if isinstance(said, list):
            said = self._parts(index, said, shown)
        if not isinstance(said, str):
            hint = "every message is a text, or a list of texts and pictures"
            raise Malformed("no text", f"message {index} has no text under 'content'", hint)
        marks = said.count(START_OF_IMAGE)
        if shown and marks not in (0, len(shown)):
            hint = "say it once for each picture, or leave it out: pictures then come before the text"
            problem = f"message {index} says {START_OF_IMAGE} {marks} times and shows {len(shown)} pictures"
            raise Malformed("picture", problem, hint)
        return said, tuple(shown)

    def _parts(self, index: int, parts: list[Any], shown: list[Shown]) -> str:
        """The text of some parts, with a mark for each picture where one stands behind a text; appends to `shown`."""
        pieces = [START_OF_IMAGE] * len(shown)
        for part in parts:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind in _TEXTS and isinstance(part.get("text"), str):
                together = pieces and pieces[-1] != START_OF_IMAGE
                pieces += ["\n", part["text"]] if together else [part["text"]]
            elif kind in _PICTURES:
                shown.append(self.look(_named(part)))
                pieces.append(START_OF_IMAGE)
            else:
                hint = 'parts are {"type": "text", "text": "…"} and {"type": "image", "path": "…"}'
                raise Malformed("no text", f"message {index} has a part that is neither text nor picture", hint)
        if all(piece == START_OF_IMAGE for piece in pieces[: len(shown)]):
            del pieces[: len(shown)]
        return "".join(pieces)


def _named(part: dict[str, Any]) -> Any:
    """What a part of a message says of its picture's place."""
    for field in ("image_url", "path", "url", "image"):
        if part.get(field) is not None:
            named = part[field]
            return named.get("url") if isinstance(named, dict) else named
    return None


def written(shown: Sequence[Shown]) -> list[str]:
    """The pictures as `Looker.look` reads them again: absolute paths, and `data:` URLs."""
    return [one.source.as_posix() if isinstance(one.source, Path) else data_url(one.source) for one in shown]
