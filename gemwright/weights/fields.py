"""Typed reading of JSON trees that other people wrote: every complaint names the file, the key and the value."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gemwright.errors import UserError

JSON_LIMIT = 256 << 20  # bytes; the largest honest file is a tokenizer of about 33 MB
_MISSING = object()


def describe_foreign(start: bytes) -> tuple[str, str] | None:
    """What a file is that should have been something else, judged by its first bytes: (what, what to do)."""
    text = start.lstrip()[:64].lower()
    if not start:
        return "is empty", "the download did not finish; fetch it again"
    if text.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer, not the file itself", "run `git lfs pull` in its folder, or `gemwright pull`"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not a checkpoint", "a login or error page was saved; fetch the file again"
    if start.startswith(b"GGUF"):
        return "is a GGUF file under another name", "give it the ending .gguf"
    if start.startswith(b"PK\x03\x04"):
        return "is a zip archive (a torch file, perhaps)", "give a Hugging Face folder or a gemma_pytorch .ckpt"
    return None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; `UserError` names the file for anything else."""
    try:
        if path.stat().st_size > JSON_LIMIT:
            raise UserError(f"{path} has {path.stat().st_size} bytes, too many for JSON", hint="is it another file?")
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist", hint="is the folder complete?") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}", hint="check the path") from error
    if foreign := describe_foreign(raw[:64]):
        raise UserError(f"{path} {foreign[0]}", hint=foreign[1])
    try:
        tree = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}", hint="the file is damaged; fetch it again") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path} holds a JSON {type(tree).__name__}, not an object", hint="is it another file?")
    return tree


def list_folder(path: Path) -> list[Path]:
    """What a folder holds, by name; `UserError` for what is no folder or may not be read."""
    if not path.is_dir():
        raise UserError(f"{path} is not a folder", hint="give a folder, or a name that `gemwright pull` knows")
    try:
        return sorted(path.iterdir())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", hint="check its permissions") from error


def shorten(value: Any, limit: int = 80) -> str:
    """A value for a message, cut at `limit` characters."""
    try:
        shown = json.dumps(value)  # escapes what a terminal could not print
    except (TypeError, ValueError, RecursionError):
        shown = repr(value)
    return shown if len(shown) <= limit else shown[:limit] + "…"


class Fields:
    """One JSON object, read key by key. `used` collects the keys that somebody asked for, `notes` remarks for people.

    Each reader takes a default for an absent key (without one, absence is an error) and refuses a wrong type or a
    value out of bounds with a `UserError` that names `where`, the key and the value.
    """

    def __init__(self, tree: Mapping[str, Any], where: str, prefix: str = "") -> None:
        self.tree = tree
        self.where = where
        self.prefix = prefix
        self.used: set[str] = set()
        self.notes: list[str] = []

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self.tree.get(key) is not None

    def refuse(self, key: str, reason: str, hint: str = "correct the value, or fetch the file again") -> UserError:
        """The error for a key whose value cannot be used; the caller raises it."""
        return UserError(f"{self.where}: {self.prefix}{key} is {shorten(self.tree.get(key))}, {reason}", hint=hint)

    def raw(self, key: str, default: Any = _MISSING) -> Any:
        """The value as it stands."""
        self.used.add(key)
        if key not in self.tree:
            if default is _MISSING:
                raise UserError(f"{self.where} has no {self.prefix}{key}", hint="is this the config of a Gemma?")
            return default
        return self.tree[key]

    def integer(self, key: str, default: Any = _MISSING, *, low: int = 1, high: int = 1 << 31) -> int:
        """A whole number in [low, high]."""
        value = self.raw(key, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(key, "it must be a whole number")
        if not low <= value <= high:
            raise self.refuse(key, f"it must be between {low} and {high}")
        return value

    def number(self, key: str, default: Any = _MISSING, *, low: float = 0.0, high: float = 1e12) -> float:
        """A finite number in (low, high]."""
        value = self.raw(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(key, "it must be a number")
        if not (low < value <= high) or not math.isfinite(value):
            raise self.refuse(key, f"it must be above {low:g} and at most {high:g}")
        return float(value)

    def optional_number(self, key: str, default: float | None) -> float | None:
        """A positive number, or null for none."""
        return None if self.raw(key, default) is None else self.number(key, default)

    def flag(self, key: str, default: bool) -> bool:
        """true or false; null counts as the default."""
        value = self.raw(key, default)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.refuse(key, "it must be true or false")
        return value

    def choice(self, key: str, default: Any, known: Collection[str], reason: str) -> str:
        """One of the known words."""
        value = self.raw(key, default)
        if not isinstance(value, str) or value not in known:
            raise self.refuse(key, f"{reason}; known: {', '.join(known)}", hint="this needs another program")
        return value

    def words(self, key: str, known: Collection[str]) -> tuple[str, ...]:
        """A list of known words."""
        value = self.raw(key)
        if not isinstance(value, list | tuple) or not value:
            raise self.refuse(key, "it must be a list of words")
        for word in value:
            if not isinstance(word, str) or word not in known:
                raise self.refuse(key, f"it holds {shorten(word)}; known: {', '.join(known)}")
        return tuple(value)

    def section(self, key: str) -> Fields:
        """An object inside this one."""
        value = self.raw(key)
        if not isinstance(value, Mapping):
            raise self.refuse(key, "it must be an object")
        inner = Fields(value, self.where, f"{self.prefix}{key}.")
        inner.notes = self.notes
        return inner
