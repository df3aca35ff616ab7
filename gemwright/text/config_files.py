"""The JSON files that lie beside a vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gemwright.errors import UserError


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}", hint="fetch the file again") from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        UserError: it cannot be read, is cut short, or is not a JSON object.
    """
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not whole JSON: {error}", hint="fetch the file again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a JSON {type(value).__name__}, not an object", hint="fetch the file again")
    return value


def tokenizer_config(folder: Path) -> dict[str, Any]:
    """`tokenizer_config.json` of a checkpoint's folder, or {} where there is none.

    Raises:
        UserError: the file is there and damaged.
    """
    path = folder / "tokenizer_config.json"
    return read_object(path) if path.is_file() else {}


def token_name(value: Any) -> str | None:
    """The text of a token as configs write it: a string, or an object with "content"."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) and value else None
