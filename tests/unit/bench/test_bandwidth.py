"""The bandwidth is bytes by the seconds of the best loop."""

from __future__ import annotations

import pytest

from gemwright.bench import bandwidth


def test_the_best_loop_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 4.0, 10.0, 12.0, 20.0, 23.0])  # loops of 4, 2 and 3 seconds
    monkeypatch.setattr(bandwidth.time, "perf_counter", lambda: next(ticks))
    assert bandwidth.read_bandwidth(loops=3, size=8000) == pytest.approx(4000 / 1e9)


def test_a_machine_reads_something_like_gigabytes() -> None:
    assert 0.05 < bandwidth.read_bandwidth(loops=2, size=1 << 24) < 10_000
