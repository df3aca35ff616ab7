"""Texts written as JSON Lines, in files that appear whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from gemwright.data.documents import MESSAGES, Conversation, Document
from gemwright.data.pictures import IMAGES, written
from gemwright.errors import UserError
from gemwright.paths import replacing
from gemwright.text.turns import Message


def record(entry: Document | Conversation) -> dict[str, Any]:
    """The entry as `documents.read` reads it again: `{"text": …}` or `{"messages": [{"role": …, "content": …}, …]}`,
    with the `images` of each message that shows some."""
    if isinstance(entry, Document):
        return {"text": entry.text}
    return {MESSAGES: [_turn(message) for message in entry.messages]}


def _turn(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.text}
    return turn | ({IMAGES: written(message.images)} if message.images else {})


def line(value: Any) -> bytes:
    """A JSON value as one line of UTF-8, its end included."""
    try:
        return json.dumps(value, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, which UTF-8 cannot hold and an escape can
        return json.dumps(value).encode() + b"\n"


@contextmanager
def whole(paths: Sequence[Path]) -> Iterator[list[BinaryIO]]:
    """Files to write, which take their names, in this order, when the block ends well; otherwise nothing is left of
    them. Until then they are hidden files beside. Raises `UserError` where they cannot be written."""
    try:
        with ExitStack() as names:
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
            hidden = [names.enter_context(replacing(path)) for path in reversed(paths)]  # the last entered ends first
            with ExitStack() as files:
                yield [files.enter_context(path.open("wb")) for path in reversed(hidden)]
    except OSError as error:
        hint = "make room, or choose another folder"
        raise UserError(f"cannot write {paths[0]}: {error.strerror or error}", hint=hint) from error
