"""Paths as people type them, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from gemwright.errors import UserError

_SHOWN = 80  # characters of a path in a message


def probe(path: str | Path) -> Path:
    """The path with a leading `~` written out, known to be one that can be looked up; nothing need be there.

    Raises `UserError` for what the system will not look up: a name that is too long, the home of an unknown user, a
    folder that may not be entered. After that, `exists` and its kin answer instead of raising.
    """
    try:
        found = Path(path).expanduser()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found.stat()
    except (OSError, RuntimeError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        text = str(path)
        shown = repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
        raise UserError(f"{shown} cannot be looked up: {reason.rstrip('.')}", hint="check the path") from error
    return found


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path of a hidden file beside, to write and close; it takes the place of `path` when the block ends well, and
    otherwise nothing is left of it. Raises `OSError` where it cannot."""
    hidden = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        yield hidden
        os.replace(hidden, path)
    finally:
        with contextlib.suppress(OSError):
            hidden.unlink()
