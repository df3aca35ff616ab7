"""The files of a curriculum: the same bytes from the same seed, and an audit beside them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from gemwright.data import documents
from gemwright.data.documents import Conversation
from gemwright.errors import UserError
from gemwright.image.decode import decode
from gemwright.tasks.pictures.draw import picture
from gemwright.tasks.skills import EVERY, judge
from gemwright.tasks.write import EVENLY, read, write

MIX = {"arithmetic/add2": 2.0, "instructions": 1.0, "refusals": 1.0}


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        write(tmp_path / folder, seed=3, train=60, test=15, mix=MIX)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["audit.json", "test.jsonl", "train.jsonl"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_another_seed_writes_other_bytes(tmp_path: Path) -> None:
    reports = [write(tmp_path / str(seed), seed=seed, train=20, test=5, mix=MIX) for seed in (0, 1)]
    assert reports[0]["sha256"] != reports[1]["sha256"]


def test_the_audit_tells_what_the_files_hold(tmp_path: Path) -> None:
    report = write(tmp_path, train=80, test=20, mix=MIX)
    assert json.loads((tmp_path / "audit.json").read_text()) == report
    assert report["overlaps"] == {"keys": 0, "prompts": 0}
    for side, count in (("train", 80), ("test", 20)):
        content = (tmp_path / f"{side}.jsonl").read_bytes()
        assert report[side]["items"] == count == content.count(b"\n")
        assert report["sha256"][f"{side}.jsonl"] == hashlib.sha256(content).hexdigest()


def test_what_was_written_is_read_back_and_judged(tmp_path: Path) -> None:
    write(tmp_path, train=1, test=25)
    found = list(read(tmp_path / "test.jsonl"))
    assert len(found) == 25 and len({item.skill for item in found}) > 4
    assert all(judge(item, item.ideal).score == 1.0 for item in found)


def test_a_line_that_is_no_item_is_named(tmp_path: Path) -> None:
    write(tmp_path, train=2, test=0, mix=MIX)
    path = tmp_path / "train.jsonl"
    path.write_text(path.read_text() + '{"text": "a"}\n')
    with pytest.raises(UserError, match="line 3: not a record"):
        list(read(path))


def test_a_folder_that_cannot_be_written_and_a_file_that_is_missing_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write(tmp_path / "file", train=1, test=0, mix=MIX)
    with pytest.raises(UserError, match="cannot read"):
        next(read(tmp_path / "absent.jsonl"))


def test_old_audits_do_not_outlive_their_files(tmp_path: Path) -> None:
    write(tmp_path, train=2, test=0, mix=MIX)
    with pytest.raises(ValueError, match="no skill"):
        write(tmp_path, train=2, test=0, mix={"magic": 1.0})
    assert not (tmp_path / "audit.json").exists()


def test_a_question_about_a_picture_is_written_with_it(tmp_path: Path) -> None:
    write(tmp_path, train=6, test=3, mix={"pictures": 1.0})
    chats = [entry for entry in documents.read([tmp_path / "train.jsonl"]) if isinstance(entry, Conversation)]
    drawn = list(read(tmp_path / "train.jsonl"))
    assert len(chats) == len(drawn) == 6
    for chat, item in zip(chats, drawn, strict=True):
        assert chat.keys == (decode(picture(item)).sha256,)
        assert [message.text for message in chat.messages] == [message.text for message in item.conversation()]
        assert judge(item, chat.messages[-1].text).score == 1.0


def test_a_mixture_without_a_word_of_it_has_every_skill(tmp_path: Path) -> None:
    assert {name.partition("/")[0] for name in write(tmp_path, train=90, test=0)["train"]["tasks"]} == set(EVENLY)
    assert set(EVENLY) == {skill.SKILL for skill in EVERY}
