"""Who has which place in the cache: running requests, idle conversations, and beginnings that are kept for others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy

from gemwright.cache import snapshot
from gemwright.cache.allocate import Cache, Step
from gemwright.cache.store import CacheFull, Handle
from gemwright.engine.prefix import Kept, Prefixes, path, usable
from gemwright.engine.progress import Progress, Session
from gemwright.engine.request import PromptImage
from gemwright.engine.shelf import Shelf
from gemwright.ops.span import Image

_INTERVAL = 256  # tokens between two snapshots within a prompt, if chunks are not shorter


class Places:
    """The handles of one cache. Running requests and idle sessions have `sequences` places, snapshots `reuse` more: so
    no slot is ever missing, and blocks only until snapshots have given theirs."""

    def __init__(
        self,
        cache: Cache,
        *,
        sequences: int,
        reuse: int,
        chunk: int,
        reuse_bytes: int | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        """`cache` must have been allocated for `sequences` and `spare=reuse`; `chunk`: the engine's; `reuse_bytes`:
        what snapshots may keep together (None: no such limit); `shelf`: where they go afterwards."""
        self.idle: dict[Session, None] = {}  # sessions that hold a handle and no request, longest idle first
        self.shelf = shelf
        self._cache, self._sequences, self._reuse, self._bytes = cache, sequences, reuse, reuse_bytes
        self.prefixes = Prefixes(
            reuse, back=cache.can_roll_back, free=cache.free, fits=self._within_bytes, last=self._put_away
        )
        self._interval = min(chunk, _INTERVAL)

    def admit(self, progress: Progress, running: int) -> None:
        """Gives a request the longest beginning of its ids that its session, a snapshot or a file remembers; makes room
        for it among `running` requests."""
        session = progress.session
        mine, keep = None, 0
        if session is not None and session.handle is not None:
            mine, session.handle = session.handle, None
            self.idle.pop(session, None)
            known = path(session.ids, session.images, session.adapter)
            keep = usable(known, _path(progress), (*session.images, *progress.images))
            if not self._cache.can_roll_back(mine, mine.length - keep):
                keep = 0
        found: Any = None
        reach = 0
        if self._reuse:
            found, reach = self.prefixes.find(_path(progress), progress.images)
        copy, far = self._read(progress, beyond=max(keep, reach))
        if copy is None and reach > keep:
            progress.handle, keep = self._cache.restore(found), reach
        elif copy is None and keep:
            progress.handle, mine = mine, None
        if session is not None and mine is not None:
            self._put_by(mine, session.ids, session.images, session.adapter, turn=True)
        # Every running request has a place or will open one in its next step; idle sessions may keep the rest.
        while self.idle and len(self.idle) + running > self._sequences:
            self._yield_place(next(iter(self.idle)))
        if copy is not None:
            progress.handle, keep = self._placed(copy), far
        if progress.handle is not None:
            self._cache.rollback(progress.handle, progress.handle.length - keep)
            if not progress.begun:
                progress.cached = keep
        self._await_no_more(progress)
        progress.begun = True

    def suspend(self, progress: Progress) -> None:
        """A running request gives up its place. What it has read and drawn is kept as a snapshot, if it is worth it."""
        handle, progress.handle = progress.handle, None
        if handle is not None:
            images = [image for image in progress.images if image.end <= handle.length]
            self._put_by(handle, progress.ids, images, progress.fingerprint, turn=True, awaited=True)

    def prepare(self, members: Sequence[Progress], counts: Sequence[int], images: Sequence[Image]) -> Step:
        """A step of so many new tokens each; where blocks are missing, snapshots give theirs."""
        for progress in members:
            if progress.handle is None:
                progress.handle = self._cache.open()
        while True:
            try:
                return self._cache.prepare([progress.handle for progress in members], counts, images)
            except CacheFull:
                if not self.prefixes.drop():
                    raise

    def mark(self, progress: Progress) -> None:
        """After a step: a snapshot at the end of the prompt, or within it if it is long since the last one."""
        length = progress.remembered
        end = length == progress.prompt
        since = length - max(progress.marked, progress.cached)
        within = length < progress.prompt and self._cache.forgets and since >= self._interval
        if not self._reuse or not (end or within):
            return
        progress.marked = length
        images = [image for image in progress.images if image.end <= length]
        here = path(progress.ids[:length], images, progress.fingerprint)
        if self.prefixes.known(here):
            return
        twin = self._cache.snapshot(progress.handle)
        self.prefixes.add(twin, here, turn=end)
        while not twin.freed:
            try:
                self._cache.detach(twin)
                return
            except CacheFull:
                self.prefixes.drop()  # at last the twin itself

    def mend(self, progress: Progress) -> None:
        """After a step that did not end: a handle that is damaged, or ahead of its request, is given up; the request's
        ids will be read again."""
        handle = progress.handle
        if handle is not None and (not self._cache.intact(handle) or progress.pending < 1):
            progress.handle = None
            self._cache.free(handle)

    def retire(self, progress: Progress) -> None:
        """Takes a request's place: for its session, or as a snapshot for others."""
        handle, session = progress.handle, progress.session
        progress.handle = None
        if session is not None:
            session.busy = False
        if handle is None:
            self._await_no_more(progress)
            return
        ids = progress.ids[: handle.length]
        images = tuple(image for image in progress.images if image.end <= handle.length)
        if session is not None and self._cache.intact(handle):
            session.handle, session.ids, session.images = handle, ids, images
            session.adapter = progress.fingerprint
            self.idle[session] = None
        else:
            self._put_by(handle, ids, images, progress.fingerprint, turn=len(ids) >= progress.prompt)

    def adopt(self, session: Session, running: int, make: Callable[[], Handle | None]) -> bool:
        """Gives an idle session the handle that `make` opens, beside `running` requests; false if there is none, or no
        place for it but those of requests. Raises what `make` raises."""
        if running >= self._sequences:
            return False
        while self.idle and len(self.idle) + running >= self._sequences:
            self._yield_place(next(iter(self.idle)))
        session.handle = self._roomy(make)
        if session.handle is None:
            return False
        self.idle[session] = None
        return True

    def twin(self, session: Session, running: int) -> Session:
        """See `Engine.twin`."""
        twin, handle = Session(), session.handle
        twin.adapter = session.adapter
        if handle is None or session.busy or running + 2 > self._sequences:
            return twin
        self.idle[session] = self.idle.pop(session)  # the last to give way, so that it need not
        if self.adopt(twin, running, lambda: self._cache.fork(handle)):
            twin.ids, twin.images = list(session.ids), session.images
        return twin

    def save(self, session: Session, file: str | Path, note: str) -> None:
        """See `Engine.save`."""
        if session.busy:
            raise ValueError("this session has a request under way; finish or cancel it first")
        ids = session.ids if session.handle is not None else ()
        snapshot.save(self._cache, session.handle, file, ids, note, session.adapter)

    def reopen(self, file: str | Path, images: Sequence[PromptImage], running: int, adapter: str) -> Session:
        """See `Engine.reopen`; `adapter`: the fingerprint of what it goes on with."""
        session = Session()
        session.adapter = adapter

        def read() -> Handle | None:
            handle, session.ids = snapshot.load(self._cache, file, adapter)
            return handle

        if self.adopt(session, running, read):
            session.images = tuple(image for image in images if image.end <= len(session.ids))
        return session

    def close(self) -> None:
        """Gives up idle sessions and snapshots; with a shelf, what is worth it is on the disk afterwards."""
        for kept in self.prefixes.kept:
            self._put_away(kept, wait=True)
        self.prefixes.clear()
        for session in list(self.idle):
            if self.shelf is not None:
                here = path(session.ids, session.images, session.adapter)
                self.shelf.put(session.handle, here, wait=True)
            self.release(session)
        if self.shelf is not None:
            self.shelf.close()
            self.shelf = None

    def release(self, session: Session) -> None:
        """Frees what an idle session holds."""
        if session.handle is not None:
            self.idle.pop(session, None)
            self._cache.free(session.handle)
            session.handle, session.ids, session.images = None, [], ()

    def _yield_place(self, session: Session) -> None:
        """An idle session's place is needed: what it remembers is kept as a snapshot, if it is worth it."""
        self.idle.pop(session)
        handle, session.handle = session.handle, None
        self._put_by(handle, session.ids, session.images, session.adapter, turn=True)
        session.ids, session.images = [], ()

    def _put_by(
        self,
        handle: Any,
        ids: Sequence[int],
        images: Sequence[PromptImage],
        adapter: str,
        *,
        turn: bool,
        awaited: bool = False,
    ) -> None:
        """A handle that nobody goes on with: a snapshot, or freed."""
        wanted = self._reuse or self.shelf is not None
        if not wanted or not self._cache.intact(handle) or handle.length == 0:
            self._cache.free(handle)
            return
        handle.frozen = True
        here = path(ids[: handle.length], images, adapter)
        self.prefixes.add(handle, here, turn=turn, awaited=awaited)  # without reuse it gives way at once

    def _put_away(self, kept: Kept, *, wait: bool = False) -> None:
        """A snapshot leaves the memory: to the disk, if it is likely to be of use or was."""
        if self.shelf is not None and (kept.turn or kept.found):
            self.shelf.put(kept.handle, kept.path, wait=wait)

    def _await_no_more(self, progress: Progress) -> None:
        """What was kept for a request that gave up its place is as any other."""
        if progress.begun:
            self.prefixes.end(_path(progress))

    def _within_bytes(self, handles: list[Any]) -> bool:
        return self._bytes is None or sum(self._cache.bytes_together(handles)[0].values()) <= self._bytes

    def _read(self, progress: Progress, beyond: int) -> tuple[snapshot.Copy | None, int]:
        """A file's contents and how many tokens they save, if these are enough more than `beyond`."""
        if self.shelf is None:
            return None, 0
        stored, far = self.shelf.find(_path(progress), progress.images, beyond)
        return (None, 0) if stored is None else (self.shelf.read(stored), far)

    def _placed(self, copy: snapshot.Copy) -> Handle | None:
        return self._roomy(lambda: snapshot.place(self._cache, copy))

    def _roomy(self, make: Callable[[], Handle | None]) -> Handle | None:
        """What `make` gives; where blocks are missing, snapshots give theirs; None where these are not enough."""
        while True:
            try:
                return make()
            except CacheFull:
                if not self.prefixes.drop():
                    return None


def _path(progress: Progress) -> numpy.ndarray:
    return path(progress.ids, progress.images, progress.fingerprint)
