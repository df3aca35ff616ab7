"""A path that was typed is looked up once, and what cannot be looked up is a person's mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemwright.errors import UserError
from gemwright.paths import probe, replacing

WRONG = {
    "too long": "x" * 300,
    "no such user": "~no-such-user-here/x",
    "a null byte": "a\0b",
    "a lone surrogate": "a\ud800b",
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_looked_up_is_named_and_kept_short(case: str) -> None:
    with pytest.raises(UserError, match="cannot be looked up") as caught:
        probe(WRONG[case])
    assert WRONG[case][:1] in caught.value.message and len(caught.value.message) < 200
    caught.value.message.encode("utf-8")  # printable anywhere


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match="looked up"):
        probe(tmp_path / "a")


def test_what_is_not_there_may_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent", tmp_path / "file" / "below"):
        assert probe(path) == path and not path.exists()


def test_the_tilde_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert probe("~/models") == tmp_path / "models"


def test_a_file_keeps_its_contents_until_the_new_ones_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text("old")
    with replacing(path) as work:
        work.write_text("new")
        assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["kept"] and path.read_text() == "new"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_nothing_is_left_of_a_file_whose_writing_ended_early(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "kept"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as work:
        work.write_text("half")
        raise error
    assert [file.name for file in tmp_path.iterdir()] == ["kept"] and path.read_text() == "old"
