"""JSON Lines that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemwright.data.documents import Conversation, Document, read
from gemwright.data.jsonl import line, record, whole
from gemwright.errors import UserError
from gemwright.text.turns import Message


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    messages = (Message("system", "s"), Message("user", "a\n\u2028b"), Message("assistant", "\ud800"))
    entries = [Document(name="n", key="k", text='é "x"\r\n'), Conversation(name="n", key="k", messages=messages)]
    path = tmp_path / "x.jsonl"
    with whole([path]) as (file,):
        file.writelines(line(record(entry)) for entry in entries)
    document, conversation = read([path])
    assert isinstance(document, Document) and document.text == entries[0].text  # type: ignore[union-attr]
    assert isinstance(conversation, Conversation) and conversation.messages == messages


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_is_broken_off_leaves_nothing_and_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("old")
    with pytest.raises(error), whole([path, tmp_path / "y"]) as (file, _):
        file.write(b"new")
        raise error
    assert path.read_text() == "old" and [found.name for found in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"), whole([tmp_path / "file" / "x.jsonl"]):
        pass
