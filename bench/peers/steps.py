"""Times the steps of a training loop, and watches its memory. Imported by contestants; it imports neither."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def timed(step: Callable[[], float], question: dict[str, Any]) -> dict[str, float]:
    """One step to warm up, then the median of the rest; `peak`: the largest resident memory, every page counted."""
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], resident())

    threading.Thread(target=watch, daemon=True).start()
    step()
    seconds, loss = [], 0.0
    for _ in range(question["steps"]):
        begin = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - begin)
    done.set()
    return {"tokens_per_second": question["tokens"] / statistics.median(seconds), "peak": peak[0], "loss": loss}


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
