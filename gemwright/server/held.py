"""How large an engine is, and what its cache holds at this moment, for the queue and for the page that draws it."""

from __future__ import annotations

from typing import Any

from gemwright.engine.engine import Engine

_KINDS = ("local", "global", "recurrent")


def places(engine: Engine) -> int:
    """Requests that the engine runs at once."""
    return engine._sequences


def held(engine: Engine) -> dict[str, Any]:
    """Bytes of the cache for each kind of layer, and those that conversations keep; requests at work and waiting.

    `shared`: bytes that several conversations use together. For the engine's own thread.
    """
    capacity = engine.cache.bytes()
    working = [progress.handle for progress in engine._live.values() if progress.handle is not None]
    handles = working + [session.handle for session in engine._idle if session.handle is not None]
    handles += engine._places.prefixes.handles
    used: dict[str, int] = dict.fromkeys(_KINDS, 0)
    for handle in handles:
        for kind, size in engine.cache.bytes_used(handle).items():
            used[kind] += size
    return {
        "capacity": {kind: capacity[kind] for kind in _KINDS},
        "used": used,
        "shared": 0,
        "sequences": len(handles),
        "running": len(engine._schedule.running),
        "waiting": len(engine._schedule.waiting),
    }
