"""A conversation as plain values and back: its words and its exact ids, so that it goes on as if never left.

Of pictures the paths are kept and what tells whether the files are still the same, not the pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gemwright.engine.eyes import Eyes
from gemwright.engine.pictures import Shown, placed
from gemwright.engine.request import PromptImage
from gemwright.engine.transcript import Transcript
from gemwright.errors import UserError
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import Message

_FORMAT = "gemwright conversation 1"
_WITH_PICTURES = "gemwright conversation 2"  # which a reader of the first would go on without
_PICTURE = {"path": str, "sha256": str, "pan_scan": bool, "first": list, "count": int}
_KINDS = {"model": str, "tokenizer": str, "system": str | None, "messages": list, "ids": list, "closed": bool}


def tree_of(said: Transcript, *, model: str, tokenizer: Tokenizer) -> dict[str, Any]:
    """The conversation as JSON values; it holds ids, so it names the tokenizer. Raises `UserError` for a picture that
    came from no file."""
    pictures = list(said.images)
    return {
        "format": _WITH_PICTURES if said.images else _FORMAT,
        "model": model,
        "tokenizer": tokenizer.fingerprint(),
        "system": said.system,
        "messages": [_message(message, pictures) for message in said.messages],
        "ids": said.ids,
        "closed": said.closed,
    }


def text_of(tree: dict[str, Any], indent: int | None = None) -> bytes:
    """JSON. What UTF-8 cannot hold (lone surrogates) is written as JSON's own escapes."""
    return json.dumps(tree, ensure_ascii=False, indent=indent).encode("utf-8", "backslashreplace")


def parsed(data: bytes, path: Path) -> dict[str, Any]:
    """The tree in the text of a file, with every field of the right type. Raises `UserError` naming the file."""
    hint = "give a file that a conversation was saved in"
    try:
        tree = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no saved conversation: {error}", hint=hint) from error
    fits = isinstance(tree, dict) and tree.get("format") in (_FORMAT, _WITH_PICTURES)
    fits = fits and all(isinstance(tree.get(name), kind) for name, kind in _KINDS.items())
    fits = fits and all(type(id) is int for id in tree["ids"])
    fits = fits and all(
        isinstance(message, dict) and message.get("role") in ("user", "model") and isinstance(message.get("text"), str)
        for message in tree["messages"]
    )
    if not fits or not _fitting_pictures(tree):
        raise UserError(f"{path} is no saved conversation", hint=hint)
    return tree


def transcript_of(tree: dict[str, Any], path: Path, *, tokenizer: Tokenizer, eyes: Callable[[], Eyes]) -> Transcript:
    """The conversation of a file's tree, its pictures read from their own files; `eyes` gives what sees them.

    Raises `UserError` for one of another tokenizer, and for a picture whose file is gone or another now.
    """
    if tree["tokenizer"] != tokenizer.fingerprint():
        raise UserError(f"{path} was written with another tokenizer", hint=f"load the model {tree['model']}")
    messages: list[Message] = []
    images: list[PromptImage] = []
    for message in tree["messages"]:
        entries = message.get("images", [])
        shown = [_look_again(path, entry, eyes()) for entry in entries]
        messages.append(Message(message["role"], message["text"], tuple(shown)))
        for entry, one in zip(entries, shown, strict=True):
            images += placed(zip(entry["first"], one.views, strict=True), entry["count"])
    return Transcript(
        system=tree["system"],
        messages=tuple(messages),
        ids=tuple(tree["ids"]),
        closed=tree["closed"],
        images=tuple(images),
    )


def _look_again(path: Path, entry: dict[str, Any], eyes: Eyes) -> Shown:
    """A picture of a saved conversation, from its own file."""
    if entry["count"] != eyes.soft:
        raise UserError(
            f"{path} was written by a model with {entry['count']} soft tokens a picture, this one has {eyes.soft}",
            hint="load the model that wrote it",
        )
    shown = eyes.show(entry["path"], pan_scan=entry["pan_scan"])
    if shown.sha256 != entry["sha256"] or len(shown.views) != len(entry["first"]):
        raise UserError(f"{entry['path']} is not the picture that was shown in {path}", hint="put the old file back")
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
