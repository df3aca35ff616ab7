"""The append-only log of a run: one JSON object per line, whole even after a crash.

Training writes it; anything that draws curves or tables reads it. A line holds `seq` (0, 1, 2, … across resumes),
`time` (seconds since the epoch), `kind` (what the line is about) and the fields given by the writer.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from gemwright.errors import UserError

RESERVED = ("seq", "time", "kind")
_TAIL = 1 << 16  # bytes read at a time when looking for the last line from the end


class RunLog:
    """Appends lines to the log at `path`, which is created, with its folders, if it is absent.

    Opening a log that a crash left with half a line cuts that half away and goes on counting after the last whole
    line. Every line reaches the operating system before `write` returns. One writer per file.

    Raises `UserError` if the path cannot be opened or its last whole line is not a line of such a log.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = open(self.path, "a+b", buffering=0)  # noqa: SIM115 (held open for the run)
        except OSError as error:
            raise UserError(
                f"cannot write the run log {self.path}: {error.strerror}", hint="choose another folder"
            ) from error
        try:
            self._next = _cut_torn_tail(self._file, self.path)
        except BaseException:
            self._file.close()
            raise

    def write(self, kind: str, **fields: Any) -> None:
        """Appends one line. Fields are JSON values; NaN and infinities are written as the strings of their names,
        which every JSON reader takes. Raises `ValueError` for a reserved or unserialisable field or a closed log, and
        `UserError` where the disk takes no more: the lines before are whole then, and nothing of this one is left."""
        if taken := [name for name in RESERVED if name in fields]:
            raise ValueError(f"fields {taken} are written by the log itself")
        if self._file.closed:
            raise ValueError(f"the run log {self.path} is closed")
        record = {"seq": self._next, "time": round(time.time(), 3), "kind": kind, **fields}
        try:
            line = json.dumps(_finite(record), ensure_ascii=False, allow_nan=False)
        except TypeError as error:
            raise ValueError(f"a field of the {kind!r} line is not a JSON value: {error}") from error
        size = self._file.seek(0, os.SEEK_END)
        try:
            rest = memoryview(line.encode() + b"\n")
            while rest:  # an unbuffered write may take a part only
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(size)  # a later line must not continue half of this one
            raise UserError(
                f"cannot write the run log {self.path}: {error.strerror}", hint="make room on the disk, then resume"
            ) from error
        self._next += 1

    def close(self) -> None:
        """Closes the file; the log stays readable. Closing twice is harmless."""
        self._file.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yields the lines of a log in order, also of one that is being written: a last line without its end is left out.

    Raises `UserError` for a file that cannot be read, or for a whole line that is not a JSON object.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                yield _parse(line, path, f"line {number}")
    except OSError as error:
        raise UserError(
            f"cannot read the run log {path}: {error.strerror}", hint="give the .jsonl file of a run"
        ) from error


def _cut_torn_tail(file: BinaryIO, path: Path) -> int:
    """Truncates what follows the last line end, and returns the number of the next line."""
    size = file.seek(0, os.SEEK_END)
    whole = _end_of_last_line(file, size)
    last = _line_before(file, whole)
    following = 0
    if last:
        record = _parse(last, path, "the last line")
        seq = record.get("seq")
        if not isinstance(seq, int) or isinstance(seq, bool):
            raise UserError(f"{path} is not a run log: its last line has no number 'seq'", hint="choose another file")
        following = seq + 1
    elif size and not file.seek(0) and not file.read(1).startswith(b"{"):
        # No line end at all: only a log's own torn first line may be cut away, never somebody's other file.
        raise UserError(f"{path} is not a run log: it does not start with '{{'", hint="choose another file")
    file.truncate(whole)
    return following


def _end_of_last_line(file: BinaryIO, size: int) -> int:
    """The offset just after the last line end before `size`, or 0."""
    end = size
    while end > 0:
        start = max(0, end - _TAIL)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _line_before(file: BinaryIO, end: int) -> bytes:
    """The whole line that ends at offset `end`; empty at the start of the file."""
    if end == 0:
        return b""
    start = _end_of_last_line(file, end - 1)
    file.seek(start)
    return file.read(end - start)


def _parse(line: bytes, path: Path, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:  # JSON and UTF-8 errors alike
        raise UserError(f"{path}, {where}: not JSON ({error})", hint="give the .jsonl file of a run") from error
    if not isinstance(record, dict):
        raise UserError(f"{path}, {where}: not a JSON object", hint="give the .jsonl file of a run")
    return record


def _finite(value: Any) -> Any:
    """The value with non-finite numbers as strings: bare NaN is Python's own dialect, not JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
