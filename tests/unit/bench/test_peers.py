"""The file that lists other programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemwright.bench.peers import FILE, Peer, choose, read_peers, write_peers
from gemwright.errors import UserError

PEER = Peer(name="other", command=("/bin/python", "worker.py"), reads="gguf", load={"flash": True})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_peers(tmp_path / "new" / FILE, [PEER])
    assert read_peers(tmp_path / "new" / FILE) == read_peers(tmp_path / "new") == {"other": PEER}


def test_a_folder_without_the_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no peers are set up") as caught:
        read_peers(tmp_path)
    assert "bench/setup.py" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"other": {}}',
        '{"other": {"command": [], "reads": "gguf"}}',
        '{"other": {"command": "run", "reads": "gguf"}}',
        '{"other": {"command": ["run"], "reads": "tea leaves"}}',
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UserError, match="does not list peers"):
        read_peers(tmp_path)


def test_peers_are_chosen_by_name_and_once() -> None:
    assert choose(["other", "other"], {"other": PEER}) == [PEER]
    with pytest.raises(UserError) as caught:
        choose(["another"], {"other": PEER})
    assert "other" in caught.value.hint
