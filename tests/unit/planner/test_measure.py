"""Peaks are measured, whoever lets go of the memory before the end."""

from __future__ import annotations

import torch

from gemwright.planner.measure import PeakMemory, baseline, resident

MB = 1 << 20


def test_a_peak_inside_the_block_is_seen() -> None:
    with PeakMemory() as memory:
        tensor = torch.ones(64 * MB // 4)
        for _ in range(20):
            tensor.mul_(1.0)
        del tensor
    assert 60 * MB < memory.peak < 100 * MB


def test_memory_that_is_never_touched_does_not_count() -> None:
    with PeakMemory() as memory:
        tensor = torch.empty(256 * MB)
    assert memory.peak < 32 * MB < tensor.nbytes


def test_peaks_are_counted_from_the_given_start() -> None:
    with PeakMemory(0) as memory:
        pass
    assert memory.peak >= resident()[0] - 16 * MB > 0


def test_mapped_pages_stand_apart() -> None:
    assert baseline() <= resident()[0]
    with PeakMemory() as memory:
        pass
    assert memory.mapped > MB  # the libraries that this process runs
