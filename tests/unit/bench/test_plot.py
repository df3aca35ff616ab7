"""The picture of a result."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gemwright.bench.measures import Entry, decode, prefill
from gemwright.bench.plot import check, plot
from gemwright.bench.table import Result
from gemwright.errors import UserError

RESULT = Result(
    entries=[
        Entry(name="ours", seconds={"prefill 512": [1.0, 2.0], "decode": [1.0]}),
        Entry(name="peer", seconds={"prefill 512": [3.0]}),
    ],
    measures=[prefill(512), decode(10)],
    bandwidth=50.0,
    facts={"model": "some"},
)


def test_the_picture_names_the_measures_and_the_contestants(tmp_path: Path) -> None:
    plot(RESULT, tmp_path / "speed.svg")
    drawn = (tmp_path / "speed.svg").read_text()
    assert all(f"<!-- {word} -->" in drawn for word in ("prefill 512", "decode", "ours", "peer"))


def test_a_path_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no kind of picture"):
        check(tmp_path / "speed.txt")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        check(tmp_path / "none" / "speed.png")


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError) as caught:
        check(tmp_path / "speed.png")
    assert "gemwright[report]" in caught.value.hint
