"""Beginnings of prompts on disk: a second tier, slower and larger than memory, that the next process finds again.

A file is a saved sequence (`cache.snapshot`) with the path of its tokens in the place of their ids. What the files hold
is known from their heads; one is read whole, and checked, when a prompt goes on from it. Files are written by a thread
of their own from copies that the engine's thread made; all else happens on the engine's thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy

from gemwright.cache import snapshot
from gemwright.cache.allocate import Cache
from gemwright.cache.store import Handle
from gemwright.engine.prefix import usable
from gemwright.engine.request import PromptImage
from gemwright.errors import UserError

DISK_BYTES = 20 << 30  # of a folder, unasked
LEAST = 128  # tokens that a file must save: fewer are read sooner than a file
_AHEAD = 2  # copies that wait for the disk; while it is behind by these, what leaves memory is not written
_HEAD = 1 << 14  # bytes that a file may have beside its tensors
_SUFFIX = ".beginning"
_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}\.beginning")


@dataclass(eq=False, kw_only=True)
class Stored:
    """A file of `size` bytes. `mark`: how long its sequence is and was. `path`: of its tokens; None in a file of
    another model or a longer context, which only takes room."""

    file: Path
    size: int
    mark: Handle | None = None
    path: numpy.ndarray | None = None


class Shelf:
    """The files of a folder, at most `limit` bytes of them; those that were of no use for longest give way."""

    def __init__(self, folder: str | Path, cache: Cache, *, limit: int) -> None:
        """Looks at every file's head. `limit` counts the files of other models in the folder too.

        Damaged files are removed, with a warning. Raises `UserError` for a folder that cannot be used.
        """
        self.folder, self.limit, self._cache = Path(folder).expanduser(), limit, cache
        self._stored: OrderedDict[Path, Stored] = OrderedDict()  # the one that was of use last comes last
        self._starts: dict[bytes, list[Stored]] = {}
        self._writing: list[tuple[Future[None], Stored]] = []
        self._there = 0  # bytes of all that is stored
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="beginnings")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # prompts are nobody else's business
            found = sorted(_files(self.folder))
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot keep beginnings of prompts: {error.strerror or error}",
                hint="choose another folder",
            ) from error
        for _, path in found:
            self._look(path)
        self._make_room(0)

    def __len__(self) -> int:
        """Files that this model can go on from."""
        self._settle()
        return sum(map(len, self._starts.values()))

    @property
    def bytes(self) -> int:
        """Of all files, those included that are being written."""
        return self._there + self._coming

    @property
    def _coming(self) -> int:
        return sum(one.size for _, one in self._writing)

    def find(
        self, prompt: numpy.ndarray, images: Sequence[PromptImage] = (), beyond: int = 0
    ) -> tuple[Stored | None, int]:
        """The file that saves a prompt most, and how many of its tokens; None and 0 where none saves `LEAST` more than
        memory does, `beyond`."""
        self._settle()
        best, most = None, beyond + LEAST - 1
        for one in self._starts.get(_start(prompt), ()):
            assert one.path is not None and one.mark is not None, "only this model's files stand here"
            count = usable(one.path, prompt, images)
            if count > most and self._cache.can_roll_back(one.mark, len(one.path) - count):
                best, most = one, count
        return best, 0 if best is None else most

    def read(self, one: Stored) -> snapshot.Copy | None:
        """What a file remembers; None, with a warning, where it is not what it was, and then it is removed."""
        assert one.path is not None and one.mark is not None, "only this model's files are found"
        try:
            copy = snapshot.read(self._cache, one.file)
            if (copy.length, copy.high) != (one.mark.length, one.mark.high) or copy.ids != one.path.tolist():
                raise snapshot.Damaged(f"{one.file} is not what it was", hint="it is not used")
        except UserError as error:
            self._forget(one)
            if one.file.exists():  # else another process of this folder removed it
                self._remove(one.file, error)
            return None
        self._touch(one)
        return copy

    def put(self, handle: Handle, path: numpy.ndarray, *, wait: bool = False) -> None:
        """Begins to write what a handle remembers; it may be freed afterwards. Nothing is written of what is short,
        known or larger than the limit, nor, unless `wait`, while the disk is behind."""
        self._settle()
        file = self._file(path)
        size = sum(self._cache.bytes_used(handle).values()) + path.nbytes + _HEAD
        known = self._stored.get(file)
        if known is not None and known.path is not None:
            self._touch(known)
            return
        if len(path) < LEAST or size > self.limit or any(one.file == file for _, one in self._writing):
            return
        while len(self._writing) >= _AHEAD or self._coming + size > self.limit:
            if not wait:
                return
            self._settle(wait=True)
        self._make_room(size)
        try:
            copy = snapshot.copy(self._cache, handle, path.tolist())
        except (RuntimeError, MemoryError) as error:  # no memory for a copy: whoever is running must not suffer
            warnings.warn(f"a beginning was not written: {error}", stacklevel=2)
            return
        mark = Handle(places=[], length=handle.length, high=handle.high)
        note = json.dumps({"length": mark.length, "high": mark.high})
        self._writing.append(
            (self._writer.submit(snapshot.write, copy, file, note), Stored(file=file, size=size, mark=mark, path=path))
        )

    def flush(self) -> None:
        """Returns when all that was put is on the disk."""
        while self._writing:
            self._settle(wait=True)

    def close(self) -> None:
        """The same, and ends the thread."""
        self.flush()
        self._writer.shutdown()

    # ---------------------------------------------------------------------------------------------------- the index

    def _settle(self, wait: bool = False) -> None:
        """Takes note of the files that are written; `wait`: of the next one at least."""
        while self._writing and (wait or self._writing[0][0].done()):
            future, one = self._writing.pop(0)
            wait = False
            error = future.exception()
            if error is None:
                with contextlib.suppress(OSError):
                    one.size = one.file.stat().st_size
                    self._keep(one)
            else:
                warnings.warn(f"a beginning was not written: {error}", stacklevel=2)

    def _look(self, path: Path) -> None:
        """Takes a file that is there into the index, or removes what a process left half-way."""
        if path.name.endswith(".part") and _NAME.match(path.name):
            if not _alive(path.name.split(".")[-2]):
                path.unlink(missing_ok=True)
            return
        if not _NAME.fullmatch(path.name):
            return
        try:
            facts, ids, note = snapshot.peek(path)
            size = path.stat().st_size
            if facts.get("identity") != self._cache.identity:
                self._keep(Stored(file=path, size=size))
                return
            stated = json.loads(note)
            mark = Handle(places=[], length=stated["length"], high=stated["high"])
            tokens = numpy.array(ids, dtype=numpy.int64)
            longer = self._cache.limit is not None and len(ids) > self._cache.limit
            if not mark.length == facts["length"] == len(ids) or mark.high != facts["high"]:
                raise ValueError("its head contradicts itself")
            if path != self._file(tokens):
                raise ValueError("its name is not that of its tokens")
        except (OSError, UserError, ValueError, LookupError, TypeError) as error:
            self._remove(path, error)
            return
        self._keep(Stored(file=path, size=size, mark=mark, path=None if longer else tokens))

    def _keep(self, one: Stored) -> None:
        old = self._stored.get(one.file)
        if old is not None:
            self._forget(old)
        self._stored[one.file] = one
        self._there += one.size
        if one.path is not None:
            self._starts.setdefault(_start(one.path), []).append(one)

    def _touch(self, one: Stored) -> None:
        """It was of use now: the index and, for the next process, the file say so."""
        self._stored.move_to_end(one.file)
        with contextlib.suppress(OSError):
            os.utime(one.file)

    def _make_room(self, size: int) -> None:
        """Removes files until so many bytes more are within the limit."""
        while self._stored and self.bytes + size > self.limit:
            oldest = next(iter(self._stored.values()))
            self._forget(oldest)
            with contextlib.suppress(OSError):
                oldest.file.unlink(missing_ok=True)

    def _forget(self, one: Stored) -> None:
        if self._stored.pop(one.file, None) is not None:
            self._there -= one.size
        if one.path is not None and one in (known := self._starts.get(_start(one.path), [])):
            known.remove(one)

    def _remove(self, file: Path, error: Exception) -> None:
        warnings.warn(f"{file} is of no use and is removed: {error}", stacklevel=2)
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)

    def _file(self, path: numpy.ndarray) -> Path:
        name = hashlib.sha256(path.tobytes()).hexdigest()[:32]
        return self.folder / f"{self._cache.identity[:16]}-{name}{_SUFFIX}"


def _files(folder: Path) -> Iterator[tuple[int, Path]]:
    """The files of a folder, and when each was written."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process of this folder removed or renamed it
            if path.is_file():
                yield path.stat().st_mtime_ns, path


def _start(path: numpy.ndarray) -> bytes:
    """By what files are looked up: who shares `LEAST` tokens shares this."""
    return path[:LEAST].tobytes()


def _alive(process: str) -> bool:
    """Is another process of that number at work? Its half-written file is then its own."""
    if not process.isdigit() or int(process) == os.getpid():
        return False
    try:
        os.kill(int(process), 0)
    except OverflowError:
        return False
    except OSError as error:
        return isinstance(error, PermissionError)
    return True
