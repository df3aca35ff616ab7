"""Every level of the native kernels that was built and runs here; skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gemwright.ops.native import library


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "level" in metafunc.fixturenames:
        levels = library.levels()
        missing = pytest.param(None, marks=pytest.mark.skip(reason="no native kernels were built here"))
        metafunc.parametrize("level", levels or [missing])


@pytest.fixture
def kernels(level: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The kernels of one level, instead of the best."""
    monkeypatch.setattr(library, "best", lambda: library.load(level))
    yield level
