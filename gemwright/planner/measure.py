"""Peak memory of this process, in the one meaning that every plan, test and table of this project uses.

Memory is `RssAnon`, the pages that belong to this process alone. A thread samples it every 5 ms; what counts is the
highest sample minus the value after `import torch` and one warm-up product (`baseline`). Pages of mapped files, which
the system can drop and read again, are reported beside it.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

from gemwright.errors import UserError

INTERVAL = 0.005  # seconds
_STATUS = Path("/proc/self/status")
_FIELDS = {b"RssAnon:": "anonymous", b"RssFile:": "mapped"}


def resident() -> tuple[int, int]:
    """Bytes of this process in memory now: its own pages, and pages of mapped files.

    Raises `UserError` where the system does not tell (it takes Linux).
    """
    found: dict[str, int] = {}
    try:
        for line in _STATUS.read_bytes().splitlines():
            name, _, rest = line.partition(b"\t")
            if name in _FIELDS:
                found[_FIELDS[name]] = int(rest.split()[0]) * 1024
    except OSError as error:
        raise UserError(f"memory cannot be measured here: {error}", hint="measure on Linux") from error
    if len(found) != len(_FIELDS):
        raise UserError(f"{_STATUS} has no RssAnon", hint="measure on Linux 4.5 or later")
    return found["anonymous"], found["mapped"]


def baseline() -> int:
    """Bytes of this process after `import torch` and one warm-up product: from where peaks are counted."""
    import torch

    with torch.inference_mode():
        torch.mm(torch.ones(256, 256), torch.ones(256, 256))
    return resident()[0]


class PeakMemory:
    """Samples this process while a `with` block runs.

        start = baseline()
        with PeakMemory(start) as memory:
            ...
        memory.peak, memory.mapped

    `peak`: the highest sample minus `start` (default: minus the value at the beginning of the block). `mapped`: the
    most pages of mapped files, in bytes, as they are. Both are set when the block ends, and the ends are samples too.
    """

    def __init__(self, start: int | None = None) -> None:
        self.peak = 0
        self.mapped = 0
        self._start = start
        self._end = threading.Event()
        self._highest = 0
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        if self._start is None:
            self._start = resident()[0]
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._sample()
        assert self._start is not None, "set on the way in"
        self.peak = self._highest - self._start

    def _watch(self) -> None:
        while not self._end.wait(INTERVAL):
            self._sample()

    def _sample(self) -> None:
        anonymous, mapped = resident()
        self._highest = max(self._highest, anonymous)
        self.mapped = max(self.mapped, mapped)


def available() -> int | None:
    """Bytes of memory that this machine can still give; None where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
