"""Texts and conversations as a stream: plain files, JSON Lines, Parquet, folders of them. Nothing is held whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from gemwright.data.pictures import Looker
from gemwright.data.records import Malformed, json_lines, parquet_rows, unreadable
from gemwright.data.report import Report
from gemwright.errors import UserError
from gemwright.paths import probe
from gemwright.text.turns import ROLES, Message, Role, check_messages

PART = 1 << 20  # characters of a plain file that make one document; a longer file comes in several
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet",)
PLAIN = (".txt", ".text", ".md", ".rst", ".py")
_READ = PLAIN + JSON_LINES + PARQUET
PYTHON = "python"  # the source that every Python carries
MESSAGES = "messages"  # the field that makes a record a conversation

Bad = Literal["stop", "skip"]


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text. `name` says where it came from; documents that share `key` are never parted by a split."""

    name: str
    key: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Messages whose roles alternate as they should. `name` says where they came from; conversations that share
    `key`, which is all that is said and shown to the model, are never parted by a split, whatever it answers.
    The messages' images are of the kind `Shown`."""

    name: str
    key: str
    messages: tuple[Message, ...]

    @property
    def text(self) -> str:
        """All that is said, a line break between messages."""
        return "\n".join(message.text for message in self.messages)

    @property
    def keys(self) -> tuple[str, ...]:
        """The fingerprints of all that is shown, in order."""
        return tuple(one.sha256 for message in self.messages for one in message.images)


def read(
    sources: Sequence[str | Path], *, field: str = "text", bad: Bad = "stop", report: Report | None = None
) -> Iterator[Document | Conversation]:
    """The documents and conversations of `sources`, in order.

    A source is a plain text file, a `.jsonl` file (an object per line), a `.parquet` file, a folder (such files at any
    depth, sorted by path, hidden ones left out), or the word `python`, the text that the running Python carries. A
    record with `messages`, a list of objects with `role` and `content` (or `text`), is a conversation; another one's
    text stands under `field`. What a user's message shows stands under its `images` or among the parts of its
    `content` (see `Looker.content`); paths are relative to the file.

    What is empty is dropped. What is malformed (no JSON, no text, not UTF-8, roles that do not alternate, a picture
    that is missing or cannot be read) raises
    `UserError` with file and line, or, where `bad` is "skip", is dropped; of a damaged Parquet file that is all from
    the damage on, of a plain file that is not UTF-8 the file. `report` counts what is kept and what is dropped. A file
    that is not there or cannot be read raises `UserError` in any case.
    """
    reader = _Reader(field, bad, Report() if report is None else report)
    for source in sources:
        if str(source) == PYTHON:
            from gemwright.data import python_text

            entries: Iterator[Document | Conversation] = python_text.documents()
        else:
            entries = (entry for path, name in _files(probe(source)) for entry in reader.file(path, name))
        for entry in entries:
            reader.kept(entry)
            yield entry


def size(entry: Document | Conversation) -> int:
    """Bytes of its texts in UTF-8."""
    texts = [entry.text] if isinstance(entry, Document) else [message.text for message in entry.messages]
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def held_out(document: Document | Conversation, share: float) -> bool:
    """Does the document belong to the held-out `share` (0 to 1)? Decided by a hash of its key alone, so adding or
    reordering other documents moves nothing."""
    digest = hashlib.sha256(document.key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


class Digest:
    """sha256 over the names and texts of documents, in order, each with its length before it; a conversation's
    messages, with their roles, follow a mark and their number."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()

    def add(self, document: Document | Conversation) -> None:
        """One document more."""
        if isinstance(document, Document):
            texts = [document.name, document.text]
        else:
            # No text is 2^64 - 1 bytes long: what follows the mark cannot be read as documents.
            self._whole.update(b"\xff" * 8 + len(document.messages).to_bytes(8, "big"))
            if document.keys:  # nor is a second mark the length of a name
                shown = json.dumps(_shown(document.messages)).encode()
                self._whole.update(b"\xff" * 8 + len(shown).to_bytes(8, "big") + shown)
            said = [part for message in document.messages for part in (message.role, message.text)]
            texts = [document.name, *said]
        for text in texts:
            data = text.encode("utf-8", "surrogatepass")
            self._whole.update(len(data).to_bytes(8, "big") + data)

    @property
    def hex(self) -> str:
        """Of the documents so far."""
        return self._whole.hexdigest()


class _Reader:
    """One reading: what to look for, what to do with what is malformed, and the report of it."""

    def __init__(self, field: str, bad: Bad, report: Report) -> None:
        self._field, self._bad, self._report = field, bad, report

    def kept(self, entry: Document | Conversation) -> None:
        if isinstance(entry, Document):
            self._report.documents += 1
        else:
            self._report.conversations += 1
        self._report.bytes += size(entry)

    def file(self, path: Path, name: str) -> Iterator[Document | Conversation]:
        kind = path.suffix.lower()
        return self._parts(path, name) if kind not in JSON_LINES + PARQUET else self._records(path, name, kind)

    def _malformed(self, name: str, where: str, error: Malformed) -> None:
        self._report.drop(error.reason, name)
        if self._bad == "stop":
            raise UserError(f"{where}: {error.message}", hint=error.hint) from error

    def _records(self, path: Path, name: str, kind: str) -> Iterator[Document | Conversation]:
        table, looker = kind in PARQUET, Looker(path.parent)
        rows = parquet_rows(path, (self._field, MESSAGES)) if table else json_lines(path)
        for number, row in rows:
            called = f"{name}#{number}" if number else name
            where = f"{path}, {'row' if table else 'line'} {number}" if number else str(path)
            try:
                if isinstance(row, Malformed):
                    raise row
                entry = _entry(row, called, self._field, looker)
            except Malformed as error:
                self._malformed(called, where, error)
                continue
            if entry is None:
                self._report.drop("empty", called)
            else:
                yield entry

    def _parts(self, path: Path, name: str) -> Iterator[Document]:
        """A plain file: one document or, where it is longer than `PART`, several, cut at line ends where it can be."""
        try:
            if self._bad == "skip":
                _check_text(path)
            yield from self._cut(path, name)
        except Malformed as error:
            self._malformed(name, str(path), error)

    def _cut(self, path: Path, name: str) -> Iterator[Document]:
        with _open(path) as file:
            number, rest = 0, ""
            while True:
                text = rest + _characters(file, path, PART - len(rest))
                if number == 0 and len(text) < PART and not text.strip():
                    self._report.drop("empty", name)
                    return
                if not text:
                    return
                cut = (text.rfind("\n") + 1 or len(text)) if len(text) == PART else len(text)
                text, rest = text[:cut], text[cut:]
                number += 1
                # The parts of a file share a key: what was one text stays on one side of a split.
                yield Document(name=name if number == 1 else f"{name}#{number}", key=name, text=text)


def _files(source: Path) -> Iterator[tuple[Path, str]]:
    if source.is_file():
        yield source, source.name
        return
    if not source.is_dir():
        raise UserError(f"there is no file or folder {source}", hint=f"give text files, or the word {PYTHON}")
    found = False
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.suffix.lower() not in _READ or any(part.startswith(".") for part in name.parts):
            continue
        if path.is_file():
            found = True
            yield path, str(name)
    if not found:
        raise UserError(f"{source} holds no text", hint=f"files that end in {', '.join(_READ)} are read")


def _open(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8", newline="\n")
    except OSError as error:
        raise unreadable(path, error) from error


def _characters(file: TextIO, path: Path, count: int) -> str:
    try:
        return file.read(count)
    except UnicodeDecodeError as error:
        hint = "convert it to UTF-8, or leave it out"
        raise Malformed("not UTF-8", f"not UTF-8 text: {error.reason}", hint) from error
    except OSError as error:
        raise unreadable(path, error) from error


def _check_text(path: Path) -> None:
    """Raises `Malformed` where the file is not UTF-8 to its end: a file that is skipped is not given in part."""
    with _open(path) as file:
        while _characters(file, path, PART):
            pass


def _entry(record: Any, name: str, field: str, looker: Looker) -> Document | Conversation | None:
    """A record as what it holds, None where that is nothing. Raises `Malformed`."""
    if not isinstance(record, dict):
        raise Malformed("broken", "no text in what is no object", f'write {{"{field}": "…"}}')
    if field != MESSAGES and record.get(MESSAGES) is not None:
        return _conversation(record[MESSAGES], name, looker)
    text = record.get(field)
    if not isinstance(text, str):
        raise Malformed("no text", f"no text under {field!r}", f"it has {', '.join(map(repr, record)) or 'no field'}")
    return Document(name=name, key=text, text=text) if text.strip() else None


def _conversation(said: Any, name: str, looker: Looker) -> Conversation | None:
    if not isinstance(said, list):
        raise Malformed("broken", f"{MESSAGES!r} is no list", 'write [{"role": "user", "content": "…"}, …]')
    messages = tuple(_message(index, one, looker) for index, one in enumerate(said))
    if not any(message.text.strip() for message in messages):
        return None
    try:
        roles = check_messages(messages)
    except UserError as error:
        raise Malformed("roles", error.message, error.hint) from error
    asked: list[Any] = [message.text for message, role in zip(messages, roles, strict=True) if role is not Role.MODEL]
    if any(message.images for message in messages):
        asked.append(_shown(messages))
    return Conversation(name=name, key=json.dumps(asked), messages=messages)


def _shown(messages: Sequence[Message]) -> list[list[str]]:
    """The fingerprints of what each message shows."""
    return [[one.sha256 for one in message.images] for message in messages]


def _message(index: int, one: Any, looker: Looker) -> Message:
    if not isinstance(one, dict):
        raise Malformed("broken", f"message {index} is no object", 'write {"role": "user", "content": "…"}')
    role = one.get("role")
    if not isinstance(role, str):
        raise Malformed("roles", f"message {index} has no role", f"use one of {', '.join(ROLES)}")
    text, images = looker.content(index, one)
    return Message(role, text, images)
