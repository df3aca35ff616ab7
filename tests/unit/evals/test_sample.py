"""The text that every Python brings along."""

from __future__ import annotations

import sysconfig
import textwrap
from pathlib import Path

import pytest

from gemwright.errors import UserError
from gemwright.evals.sample import LENGTH, docstrings


def test_the_sample_is_long_enough_and_always_the_same() -> None:
    text = docstrings()
    assert len(text) == LENGTH and text == docstrings()
    assert docstrings(500) == text[:500]


def test_the_sample_is_docstrings() -> None:
    import statistics

    documented = textwrap.dedent(statistics.__doc__ or "").strip()
    assert docstrings().startswith(documented[:100])
    assert "import " not in docstrings(2000).replace(">>> import", "").replace(">>> from", "")


def test_a_python_without_source_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(UserError, match="cannot read"):
        docstrings()
