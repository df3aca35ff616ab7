"""A conversation whose words can be kept in a file of text, which any model with the same tokenizer can read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from gemwright.engine.chat import Chat
from gemwright.engine.record import parsed, text_of, transcript_of, tree_of
from gemwright.errors import UserError


class Conversation(Chat):
    """A chat with `write` and `read`. The file holds words and ids, not what the cache remembers of them."""

    def write(self, path: Path) -> None:
        """Write the conversation, all at once. Raises `UserError` where it cannot be written, and for a picture that
        came from no file; nothing is left then."""
        if not path.name:
            raise UserError(f"{path} is a folder", hint="name a file in it")
        tree = tree_of(self.transcript(), model=self.engine.model.spec.name, tokenizer=self.tokenizer)
        part = path.with_name(f".conversation-{os.getpid()}.part")
        try:
            part.write_bytes(text_of(tree, indent=1) + b"\n")
            os.replace(part, path)
        except (OSError, ValueError) as error:  # ValueError: no name for a file, whatever the disk
            raise UserError(f"{path} cannot be written: {_reason(error)}", hint="choose another file") from error
        finally:
            with suppress(OSError, ValueError):
                part.unlink()

    def read(self, path: Path) -> None:
        """Go on with the conversation of a file instead of this one.

        Raises `UserError` for a file that is no conversation, or one of another tokenizer or a longer context, and
        for a picture whose file is gone or another now; this conversation stays as it was then.
        """
        try:
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {_reason(error)}", hint="check the path") from error
        tree = parsed(data, path)
        self.restore(transcript_of(tree, path, tokenizer=self.tokenizer, eyes=lambda: self.engine.eyes))


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
