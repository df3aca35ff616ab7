"""Rows of JSON Lines and Parquet files as Python values, one at a time, the unreadable ones among them named."""

from __future__ import annotations

import codecs
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from gemwright.errors import UserError

LONGEST = 1 << 26  # bytes of a line of JSON; a longer one is no line but another kind of file
_ROWS = 64  # of a Parquet file, held at a time


class Malformed(Exception):
    """A row that is none. `reason` is what it is counted under; `message` and `hint` are for the person."""

    def __init__(self, reason: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.reason, self.message, self.hint = reason, message, hint


# The number of a row, from 1 (0: all that is left of the file), and the row.
Numbered = tuple[int, Any | Malformed]


def open_file(path: Path) -> BinaryIO:
    """The file's bytes. Raises `UserError` where it cannot be opened."""
    try:
        return path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> UserError:
    """What a person is told of a file that the system does not give."""
    return UserError(f"cannot read {path}: {error.strerror or error}", hint="check the path and its permissions")


def json_lines(path: Path) -> Iterator[Numbered]:
    """The values on the lines of `path`; blank lines are passed over. Memory holds one line."""
    with open_file(path) as file:
        number = 0
        while True:
            number += 1
            try:
                line = file.readline(LONGEST)
                whole = len(line) < LONGEST or line.endswith(b"\n")
                while not whole:
                    rest = file.readline(LONGEST)
                    whole = len(rest) < LONGEST or rest.endswith(b"\n")
            except OSError as error:
                raise unreadable(path, error) from error
            if not line:
                return
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if line.strip():
                yield number, _value(line)


def _value(line: bytes) -> Any | Malformed:
    if len(line) >= LONGEST:
        hint = "a .jsonl file holds one JSON object per line"
        return Malformed("broken", f"a line of more than {LONGEST >> 20} MiB", hint)
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Malformed("not UTF-8", f"not UTF-8 text: {error.reason}", "convert the file to UTF-8")
    except (ValueError, RecursionError) as error:
        return Malformed("broken", f"not JSON ({error})", "a .jsonl file holds one JSON object per line")


def parquet_rows(path: Path, columns: tuple[str, ...]) -> Iterator[Numbered]:
    """The rows of `path` as dicts of those `columns` that it has. Memory holds the pages that a few rows lie on.

    Raises `UserError` where the file cannot be opened or pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(f"{path}: reading Parquet needs pyarrow", hint="pip install 'gemwright[data]'") from error
    number = 0
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(pyarrow.OSFile(str(path)))
            # Without these two a whole column of a row group is read at once, and groups can be as large as the file.
            table = stack.enter_context(parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False))
            names = [name for name in table.schema_arrow.names if name in columns]
            if not names:
                yield 0, _no_column(columns[0], table.schema_arrow.names)
                return
            for batch in table.iter_batches(batch_size=_ROWS, columns=names, use_threads=False):
                for at in range(batch.num_rows):
                    number += 1
                    yield number, _row(batch, names, at)
        except (pyarrow.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise unreadable(path, error) from error
            after = f" after row {number}" if number else ""
            hint = "fetch or write the file again, or leave it out"
            yield 0, Malformed("broken", f"no whole Parquet file{after} ({_first_line(error)})", hint)


def _row(batch: Any, names: list[str], at: int) -> dict[str, Any] | Malformed:
    try:
        return {name: batch.column(name)[at].as_py() for name in names}
    except UnicodeDecodeError as error:
        return Malformed("not UTF-8", f"not UTF-8 text: {error.reason}", "write the file again from UTF-8 text")


def _no_column(field: str, found: list[str]) -> Malformed:
    return Malformed("no text", f"no column {field!r}", f"it has {', '.join(map(repr, found)) or 'none'}")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
