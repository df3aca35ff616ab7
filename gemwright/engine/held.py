"""What an engine's cache holds at a moment: for the page that draws it, and for whoever watches a server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gemwright.cache.allocate import Cache
from gemwright.engine.places import Places
from gemwright.engine.progress import Progress
from gemwright.engine.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Held:
    """Bytes for each kind of layer ("global", "local", "recurrent"), and counts.

    `capacity`: allocated. `used`: by running requests and idle conversations, what they share counted once. `kept`: by
    beginnings of prompts, beyond that. `shared`: bytes of `used` that another one or a beginning uses too.
    `sequences`: running requests that have begun, and idle conversations; `idle`: the latter alone; `beginnings`: that
    are kept. `disk`, `files`: bytes of the disk tier, and beginnings that lie there for this model.
    """

    capacity: dict[str, int]
    used: dict[str, int]
    kept: dict[str, int]
    shared: int
    sequences: int
    idle: int
    beginnings: int
    running: int
    waiting: int
    disk: int
    files: int


def held(cache: Cache, places: Places, requests: Iterable[Progress], schedule: Schedule) -> Held:
    """Looks at a cache, who has which place in it, the requests under way and their schedule."""
    handles = [progress.handle for progress in requests if progress.handle is not None]
    handles += [session.handle for session in places.idle]
    kept = places.prefixes.handles
    used, shared = cache.bytes_together(handles, beside=kept)
    every, _ = cache.bytes_together([*handles, *kept])
    return Held(
        capacity=cache.bytes(),
        used=used,
        kept={kind: every[kind] - used[kind] for kind in every},
        shared=sum(shared.values()),
        sequences=len(handles),
        idle=len(places.idle),
        beginnings=len(places.prefixes),
        running=len(schedule.running),
        waiting=len(schedule.waiting),
        disk=places.shelf.bytes if places.shelf is not None else 0,
        files=len(places.shelf) if places.shelf is not None else 0,
    )
