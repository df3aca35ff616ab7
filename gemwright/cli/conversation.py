"""A conversation that can be kept in a file: its words and its exact ids, so that it goes on as if never left.

Of pictures the file keeps the paths and what tells whether the files are still the same, not the pixels.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from gemwright.engine.chat import Chat, Transcript
from gemwright.engine.pictures import Shown, placed
from gemwright.engine.request import PromptImage
from gemwright.errors import UserError
from gemwright.text.turns import Message

_FORMAT = "gemwright conversation 1"
_WITH_PICTURES = "gemwright conversation 2"  # which a reader of the first would go on without
_PICTURE = {"path": str, "sha256": str, "pan_scan": bool, "first": list, "count": int}
_KINDS = {"model": str, "tokenizer": str, "system": str | None, "messages": list, "ids": list, "closed": bool}


class Conversation(Chat):
    """A chat with `save` and `load`. The file holds ids, so the tokenizer must be the one that wrote them."""

    def save(self, path: Path) -> None:
        """Write the conversation, all at once. Raises `UserError` where it cannot be written, and for a picture that
        came from no file; nothing is left then."""
        if not path.name:
            raise UserError(f"{path} is a folder", hint="name a file in it")
        said = self.transcript()
        pictures = list(said.images)
        messages = [_message(message, pictures) for message in said.messages]
        tree = {
            "format": _WITH_PICTURES if said.images else _FORMAT,
            "model": self.engine.model.spec.name,
            "tokenizer": self.tokenizer.fingerprint(),
            "system": said.system,
            "messages": messages,
            "ids": said.ids,
            "closed": said.closed,
        }
        # What UTF-8 cannot hold (lone surrogates) is written as JSON's own escapes.
        data = (json.dumps(tree, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "backslashreplace")
        part = path.with_name(f".conversation-{os.getpid()}.part")
        try:
            part.write_bytes(data)
            os.replace(part, path)
        except (OSError, ValueError) as error:  # ValueError: no name for a file, whatever the disk
            raise UserError(f"{path} cannot be written: {_reason(error)}", hint="choose another file") from error
        finally:
            with suppress(OSError, ValueError):
                part.unlink()

    def load(self, path: Path) -> None:
        """Go on with the conversation of a file instead of this one.

        Raises `UserError` for a file that is no conversation, or one of another tokenizer or a longer context, and
        for a picture whose file is gone or another now; this conversation stays as it was then.
        """
        tree = _read(path)
        if tree["tokenizer"] != self.tokenizer.fingerprint():
            raise UserError(f"{path} was written with another tokenizer", hint=f"load the model {tree['model']}")
        messages: list[Message] = []
        images: list[PromptImage] = []
        for message in tree["messages"]:
            entries = message.get("images", [])
            shown = [self._look_again(path, entry) for entry in entries]
            messages.append(Message(message["role"], message["text"], tuple(shown)))
            for entry, one in zip(entries, shown, strict=True):
                images += placed(zip(entry["first"], one.views, strict=True), entry["count"])
        self.restore(
            Transcript(
                system=tree["system"],
                messages=tuple(messages),
                ids=tuple(tree["ids"]),
                closed=tree["closed"],
                images=tuple(images),
            )
        )

    def _look_again(self, path: Path, entry: dict[str, Any]) -> Shown:
        """A picture of a saved conversation, from its own file."""
        eyes = self.engine.eyes
        if entry["count"] != eyes.soft:
            raise UserError(
                f"{path} was written by a model with {entry['count']} soft tokens a picture, this one has {eyes.soft}",
                hint="load the model that wrote it",
            )
        shown = eyes.show(entry["path"], pan_scan=entry["pan_scan"])
        if shown.sha256 != entry["sha256"] or len(shown.views) != len(entry["first"]):
            raise UserError(
                f"{entry['path']} is not the picture that was shown in {path}", hint="put the old file back"
            )
        return shown


def _message(message: Message, pictures: list[PromptImage]) -> dict[str, Any]:
    """A message as the file has it; takes its views' places from the front of `pictures`."""
    tree: dict[str, Any] = {"role": message.role, "text": message.text}
    entries = []
    for shown in message.images:
        if not isinstance(shown, Shown) or shown.path is None:
            name = getattr(shown, "name", "a picture")
            raise UserError(f"{name} came from no file: it cannot be saved", hint="show pictures from files")
        views = [pictures.pop(0) for _ in shown.views]
        facts = {"path": str(shown.path), "sha256": shown.sha256, "pan_scan": shown.pan_scan}
        entries.append(facts | {"first": [view.first for view in views], "count": views[0].count})
    return tree | {"images": entries} if entries else tree


def _fitting_pictures(tree: dict[str, Any]) -> bool:
    """Whether the pictures of a file's tree have every field of the right type, and lie in order within the ids."""
    end = 0
    for message in tree["messages"]:
        entries = message.get("images", [])
        if not isinstance(entries, list) or (entries and message["role"] != "user"):
            return False
        for entry in entries:
            fits = isinstance(entry, dict) and all(
                isinstance(entry.get(name), kind) and not (kind is int and isinstance(entry[name], bool))
                for name, kind in _PICTURE.items()
            )
            if not fits or not entry["first"] or entry["count"] < 1:
                return False
            for first in entry["first"]:
                if type(first) is not int or first < end or first + entry["count"] > len(tree["ids"]):
                    return False
                end = first + entry["count"]
    return True


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _read(path: Path) -> dict[str, Any]:
    """The file's tree, with every field of the right type."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {_reason(error)}", hint="check the path") from error
    try:
        tree = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no saved conversation: {error}", hint="give a file that /save wrote") from error
    fits = isinstance(tree, dict) and tree.get("format") in (_FORMAT, _WITH_PICTURES)
    fits = fits and all(isinstance(tree.get(name), kind) for name, kind in _KINDS.items())
    fits = fits and all(type(id) is int for id in tree["ids"])
    fits = fits and all(
        isinstance(message, dict) and message.get("role") in ("user", "model") and isinstance(message.get("text"), str)
        for message in tree["messages"]
    )
    if not fits or not _fitting_pictures(tree):
        raise UserError(f"{path} is no saved conversation", hint="give a file that /save wrote")
    return tree
