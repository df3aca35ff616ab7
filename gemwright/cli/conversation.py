"""A conversation that can be kept in a file: its words and its exact ids, so that it goes on as if never left."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from gemwright.engine.chat import Chat, Transcript
from gemwright.errors import UserError
from gemwright.text.turns import Message

_FORMAT = "gemwright conversation 1"
_KINDS = {"model": str, "tokenizer": str, "system": str | None, "messages": list, "ids": list, "closed": bool}


class Conversation(Chat):
    """A chat with `save` and `load`. The file holds ids, so the tokenizer must be the one that wrote them."""

    def save(self, path: Path) -> None:
        """Write the conversation, all at once. Raises `UserError` where it cannot be written; nothing is left then."""
        if not path.name:
            raise UserError(f"{path} is a folder", hint="name a file in it")
        said = self.transcript()
        tree = {
            "format": _FORMAT,
            "model": self.engine.model.spec.name,
            "tokenizer": self.tokenizer.fingerprint(),
            "system": said.system,
            "messages": [{"role": message.role, "text": message.text} for message in said.messages],
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

        Raises `UserError` for a file that is no conversation, or one of another tokenizer or a longer context; this
        conversation stays as it was then.
        """
        tree = _read(path)
        if tree["tokenizer"] != self.tokenizer.fingerprint():
            raise UserError(f"{path} was written with another tokenizer", hint=f"load the model {tree['model']}")
        messages = tuple(Message(message["role"], message["text"]) for message in tree["messages"])
        self.restore(
            Transcript(system=tree["system"], messages=messages, ids=tuple(tree["ids"]), closed=tree["closed"])
        )


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
    fits = isinstance(tree, dict) and tree.get("format") == _FORMAT
    fits = fits and all(isinstance(tree.get(name), kind) for name, kind in _KINDS.items())
    fits = fits and all(type(id) is int for id in tree["ids"])
    fits = fits and all(
        isinstance(message, dict) and message.get("role") in ("user", "model") and isinstance(message.get("text"), str)
        for message in tree["messages"]
    )
    if not fits:
        raise UserError(f"{path} is no saved conversation", hint="give a file that /save wrote")
    return tree
