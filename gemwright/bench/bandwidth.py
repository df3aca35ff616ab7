"""How fast this machine reads its memory: what every decoded token is measured against."""

from __future__ import annotations

import time

import torch

BYTES = 1 << 30  # far more than any cache of a CPU holds


def read_bandwidth(loops: int = 3, size: int = BYTES) -> float:
    """GB/s (10⁹ bytes) of the best of some loops that read `size` bytes with all of torch's threads.

    The loop is a sum of 64-bit integers: of torch's reductions it is the fastest one, for it does next to no
    arithmetic. Pages are touched before the first loop.
    """
    numbers = torch.ones(size // 8, dtype=torch.int64)
    best = 0.0
    with torch.inference_mode():
        for _ in range(loops):
            start = time.perf_counter()
            numbers.sum()
            best = max(best, numbers.nbytes / (time.perf_counter() - start) / 1e9)
    return best
