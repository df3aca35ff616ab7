"""Who has which place in the cache: running requests, idle conversations, and beginnings that are kept for others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gemwright.cache.allocate import Cache, Step
from gemwright.cache.store import CacheFull, Handle
from gemwright.engine.prefix import Prefixes, path
from gemwright.engine.progress import Progress, Session
from gemwright.engine.request import PromptImage
from gemwright.ops.span import Image

_INTERVAL = 256  # tokens between two snapshots within a prompt, if chunks are not shorter


class Places:
    """The handles of one cache. Running requests and idle sessions have `sequences` places, snapshots `reuse` more: so
    no slot is ever missing, and blocks only until snapshots have given theirs."""

    def __init__(self, cache: Cache, *, sequences: int, reuse: int, chunk: int) -> None:
        """`cache` must have been allocated for `sequences` and `spare=reuse`; `chunk`: the engine's."""
        self.idle: dict[Session, None] = {}  # sessions that hold a handle and no request, longest idle first
        self.prefixes = Prefixes(reuse, back=cache.can_roll_back, free=cache.free)
        self._cache, self._sequences, self._reuse = cache, sequences, reuse
        self._interval = min(chunk, _INTERVAL)

    def admit(self, progress: Progress, running: int) -> None:
        """Gives a request the longest beginning of its prompt that its session or a snapshot remembers; makes room for
        it among `running` requests."""
        session = progress.session
        mine, keep = None, 0
        if session is not None and session.handle is not None:
            mine, session.handle = session.handle, None
            self.idle.pop(session, None)
            keep = session.shared(progress.ids, progress.images, progress.fingerprint)
            if not self._cache.can_roll_back(mine, mine.length - keep):
                keep = 0
        found: Any = None
        reach = 0
        if self._reuse:
            found, reach = self.prefixes.find(
                path(progress.ids, progress.images, progress.fingerprint), progress.images
            )
        if reach > keep:
            progress.handle, keep = self._cache.restore(found), reach
        elif keep:
            progress.handle, mine = mine, None
        if session is not None and mine is not None:
            self._put_by(mine, session.ids, session.images, session.adapter, turn=True)
        if progress.handle is not None:
            self._cache.rollback(progress.handle, progress.handle.length - keep)
            progress.cached = keep
        # Every running request has a place or will open one in its next step; idle sessions may keep the rest.
        while self.idle and len(self.idle) + running > self._sequences:
            self._yield_place(next(iter(self.idle)))

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
        while True:
            try:
                session.handle = make()
                break
            except CacheFull:
                if not self.prefixes.drop():
                    return False
        if session.handle is None:
            return False
        self.idle[session] = None
        return True

    def release(self, session: Session) -> None:
        """Frees what an idle session holds."""
        if session.handle is not None:
            self.idle.pop(session, None)
            self._cache.free(session.handle)
            session.handle, session.ids, session.images = None, [], ()

    def _yield_place(self, session: Session) -> None:
        """An idle session's place is needed: what it remembers is kept as a snapshot, if it is worth it."""
        if not self._reuse:
            self.release(session)
            return
        self.idle.pop(session)
        handle, session.handle = session.handle, None
        self._put_by(handle, session.ids, session.images, session.adapter, turn=True)
        session.ids, session.images = [], ()

    def _put_by(
        self, handle: Any, ids: Sequence[int], images: Sequence[PromptImage], adapter: str, *, turn: bool
    ) -> None:
        """A handle that nobody goes on with: a snapshot, or freed."""
        if not self._reuse or not self._cache.intact(handle) or handle.length == 0:
            self._cache.free(handle)
            return
        handle.frozen = True
        self.prefixes.add(handle, path(ids[: handle.length], images, adapter), turn=turn)
