"""Texts as a stream of documents: plain files, folders of them, JSON Lines. Nothing is held whole in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from gemwright.errors import UserError
from gemwright.paths import probe

PART = 1 << 20  # characters of a plain file that make one document; a longer file comes in several
JSON_LINES = (".jsonl", ".ndjson")
PLAIN = (".txt", ".text", ".md", ".rst", ".py")
PYTHON = "python"  # the source that every Python carries


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text. `name` says where it came from; documents that share `key` are never parted by a split."""

    name: str
    key: str
    text: str


def read(sources: Sequence[str | Path], *, field: str = "text") -> Iterator[Document]:
    """The documents of `sources`, in order.

    A source is a plain text file, a `.jsonl` file (an object per line, its text under `field`), a folder (its text
    and `.jsonl` files at any depth, sorted by path, hidden ones left out), or the word `python`, the text that the
    running Python carries. Raises `UserError` that names the file, and the line, that cannot be read.
    """
    for source in sources:
        if str(source) == PYTHON:
            from gemwright.data import python_text

            yield from python_text.documents()
            continue
        for path, name in _files(probe(source)):
            yield from (_lines(path, name, field) if path.suffix.lower() in JSON_LINES else _parts(path, name))


def held_out(document: Document, share: float) -> bool:
    """Does the document belong to the held-out `share` (0 to 1)? Decided by a hash of its key alone, so adding or
    reordering other documents moves nothing."""
    digest = hashlib.sha256(document.key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


class Digest:
    """sha256 over the names and texts of documents, in order, each with its length before it."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()

    def add(self, document: Document) -> None:
        """One document more."""
        for text in (document.name, document.text):
            data = text.encode("utf-8", "surrogatepass")
            self._whole.update(len(data).to_bytes(8, "big") + data)

    @property
    def hex(self) -> str:
        """Of the documents so far."""
        return self._whole.hexdigest()


def _files(source: Path) -> Iterator[tuple[Path, str]]:
    if source.is_file():
        yield source, source.name
        return
    if not source.is_dir():
        raise UserError(f"there is no file or folder {source}", hint=f"give text files, or the word {PYTHON}")
    found = False
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.suffix.lower() not in PLAIN + JSON_LINES or any(part.startswith(".") for part in name.parts):
            continue
        if path.is_file():
            found = True
            yield path, str(name)
    if not found:
        raise UserError(f"{source} holds no text", hint=f"files that end in {', '.join(PLAIN + JSON_LINES)} are read")


def _open(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", hint="check the path and its permissions") from error


def _parts(path: Path, name: str) -> Iterator[Document]:
    """A plain file: one document, or, where it is longer than `PART`, several, cut at line ends where it has any."""
    with _open(path) as file:
        number, rest = 0, ""
        while True:
            try:
                piece = file.read(PART - len(rest))
            except (UnicodeDecodeError, OSError) as error:
                raise _unreadable(path, error) from error
            text = rest + piece
            if not text:
                return
            cut = (text.rfind("\n") + 1 or len(text)) if len(text) == PART else len(text)
            text, rest = text[:cut], text[cut:]
            number += 1
            # The parts of a file share a key: what was one text stays on one side of a split.
            yield Document(name=name if number == 1 else f"{name}#{number}", key=name, text=text)


def _lines(path: Path, name: str, field: str) -> Iterator[Document]:
    with _open(path) as file:
        number = 0
        while True:
            number += 1
            try:
                line = file.readline()
            except (UnicodeDecodeError, OSError) as error:
                raise _unreadable(path, error) from error
            if not line:
                return
            if line.strip():
                text = _text_of(line, f"{path}, line {number}", field)
                yield Document(name=f"{name}#{number}", key=text, text=text)


def _text_of(line: str, where: str, field: str) -> str:
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error})", hint="a .jsonl file holds one JSON object per line") from error
    if not isinstance(record, dict) or not isinstance(record.get(field), str):
        found = f"it has {', '.join(map(repr, record))}" if isinstance(record, dict) else "it is no object"
        raise UserError(f"{where}: no text under {field!r}", hint=found)
    return record[field]


def _unreadable(path: Path, error: UnicodeDecodeError | OSError) -> UserError:
    if isinstance(error, OSError):
        return UserError(f"cannot read {path}: {error.strerror}", hint="check the file")
    return UserError(f"{path} is not UTF-8 text: {error.reason}", hint="convert it to UTF-8, or leave it out")
