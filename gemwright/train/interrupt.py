"""Ctrl-C and SIGTERM as a wish that a loop fulfils at its next safe place."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """While the context is open, the first Ctrl-C or SIGTERM is noted in `name` instead of ending the program; a
    second one acts as usual. Outside the main thread, where signals cannot be caught, it notes nothing."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self.name is not None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            # A handler that was not installed from Python cannot be put back by it; the system's own takes its place.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}
