"""What the engine's thread has to tell the event loop, handed over once a step.

Waking the loop takes a system call, and whoever makes one gives up Python's lock: were each event told at once, the
loop would answer it before the next one came, and the engine would wait for the lock each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_Letter = tuple[Callable[..., object], tuple[Any, ...]]


class Post:
    """Calls that wait to be made on an event loop. `put` and `send` are for one thread: the one that tells."""

    def __init__(self) -> None:
        self._letters: dict[asyncio.AbstractEventLoop, list[_Letter]] = {}

    def put(self, loop: asyncio.AbstractEventLoop, call: Callable[..., object], *given: Any) -> None:
        """`call(*given)` is to be made on that loop after the next `send`."""
        self._letters.setdefault(loop, []).append((call, given))

    def send(self) -> None:
        """Hands over what was put, in its order. What is told to a loop that has ended is lost: nobody hears it."""
        letters, self._letters = self._letters, {}
        for loop, calls in letters.items():
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_read, calls)


def _read(letters: list[_Letter]) -> None:
    for call, given in letters:
        call(*given)
