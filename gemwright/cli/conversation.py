"""A conversation that can be kept in a file: its words and its exact ids, so that it goes on as if never left."""

from __future__ import annotations

import json
import os
from pathlib import Path

from gemwright.engine.chat import Chat
from gemwright.engine.door import check_ids
from gemwright.errors import UserError
from gemwright.text.turns import Message

_FORMAT = "gemwright conversation 1"


class Conversation(Chat):
    """A chat with `save` and `load`. The file holds ids, so the tokenizer must be the one that wrote them."""

    def save(self, path: Path) -> None:
        """Write the conversation, all at once. Raises `UserError` where it cannot be written."""
        tree = {
            "format": _FORMAT,
            "model": self.engine.model.spec.name,
            "tokenizer": self._tokenizer.fingerprint(),
            "system": self._system,
            "messages": [{"role": message.role, "text": message.text} for message in self._said],
            "ids": self._ids,
            "closed": self._closed,
        }
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            part.write_text(json.dumps(tree, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise UserError(f"{path} cannot be written: {error.strerror}", hint="choose another file") from error

    def load(self, path: Path) -> None:
        """Go on with the conversation of a file instead of this one; the next turn reads it anew into the cache.

        Raises `UserError` for a file that is no conversation, or one of another tokenizer or a longer context.
        """
        tree = _read(path)
        if tree["tokenizer"] != self._tokenizer.fingerprint():
            raise UserError(f"{path} was written with another tokenizer", hint=f"load the model {tree['model']}")
        check_ids(tree["ids"], self.engine.model.spec.vocab)
        context = self.engine.context
        if context is not None and len(tree["ids"]) >= context:
            raise UserError(
                f"{path} holds {len(tree['ids'])} tokens, the context {context}", hint="start with a larger --context"
            )
        self.clear()
        self._system = tree["system"]
        self._said = [Message(message["role"], message["text"]) for message in tree["messages"]]
        self._ids, self._closed = list(tree["ids"]), tree["closed"]


def _read(path: Path) -> dict:
    """The file's tree, with every field of the right type."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", hint="check the path") from error
    except ValueError as error:
        raise UserError(f"{path} is no saved conversation: {error}", hint="give a file that /save wrote") from error
    kinds = {"model": str, "tokenizer": str, "system": str | None, "messages": list, "ids": list, "closed": bool}
    fits = isinstance(tree, dict) and tree.get("format") == _FORMAT
    fits = fits and all(isinstance(tree.get(name), kind) for name, kind in kinds.items())
    fits = fits and all(
        isinstance(message, dict) and message.get("role") in ("user", "model") and isinstance(message.get("text"), str)
        for message in tree["messages"]
    )
    if not fits:
        raise UserError(f"{path} is no saved conversation", hint="give a file that /save wrote")
    return tree
