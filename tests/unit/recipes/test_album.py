"""The album: what is shown, asked and told, and that nothing of the test side is."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy
import pytest

from gemwright.data.documents import Conversation, read
from gemwright.image.picture import picture as known
from gemwright.image.resize import square
from gemwright.recipes import album
from gemwright.tasks.pictures import describe
from gemwright.tasks.pictures.draw import picture
from gemwright.tasks.pictures.more import stepped
from gemwright.tasks.pictures.questions import TASKS
from gemwright.tasks.pictures.scene import Scene
from gemwright.tasks.split import items, side_of

COUNT = 24


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(album, "TESTED", 8)
    return album.prepare(tmp_path / "album.jsonl", seed=3, count=COUNT, side=32)


def test_every_task_is_in_the_mixture() -> None:
    assert set(album.MIX) == set(TASKS)


def test_records_are_conversations_about_the_picture_of_their_scene(drawn: Path) -> None:
    entries = list(read([str(drawn)], field="text", bad="stop"))
    scenes = [Scene.from_json(json.loads(line)["scene"]) for line in drawn.read_text(encoding="utf-8").splitlines()]
    assert len(entries) == len(scenes) == COUNT
    for entry, scene in zip(entries, scenes, strict=True):
        assert isinstance(entry, Conversation)
        asked, answer, *rest = entry.messages
        assert asked.text and answer.text
        if stepped(answer.text):
            assert not rest
        elif rest[-1].text == describe.described(scene):
            assert len(rest) == 2
        else:
            assert scene.things and 2 <= len(rest) <= 4
        assert asked.images and all(one.open().width == one.open().height == 32 for one in asked.images)
        assert side_of(f"picture {scene.content()}") == "train"


def test_the_first_view_is_the_whole_picture_as_a_tower_takes_it() -> None:
    for task in ("colour", "fine_print"):
        item = next(items(f"pictures/{task}", "train", seed=1))
        record = album.conversation(item, 48, random.Random(1))
        path = known(numpy.asarray(picture(item)), "picture")
        shown = album.opened(record["messages"][0]["images"][0])
        assert numpy.array_equal(shown, square(path, 48).pixels)


def test_small_print_is_shown_with_the_words_and_crops_of_pan_and_scan() -> None:
    item = next(items("pictures/fine_print", "train", seed=1))
    message = album.conversation(item, 32, random.Random(1))["messages"][0]
    assert len(message["images"]) == 5 == message["content"].count("<start_of_image>")
    assert message["content"].startswith("Here is the original image <start_of_image> and here are some crops")


def test_the_same_seed_draws_the_same_file_and_another_one_another(drawn: Path, tmp_path: Path) -> None:
    again = album.prepare(tmp_path / "again.jsonl", seed=3, count=COUNT, side=32)
    other = album.prepare(tmp_path / "other.jsonl", seed=4, count=COUNT, side=32)
    assert drawn.read_bytes() == again.read_bytes() != other.read_bytes()


def test_what_is_there_is_not_drawn_again(drawn: Path) -> None:
    drawn.write_text("mine", encoding="utf-8")
    assert album.prepare(drawn, seed=9, count=2, side=32).read_text(encoding="utf-8") == "mine"


def test_an_item_of_the_test_side_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(album, "TESTED", 8)
    monkeypatch.setattr(album, "drawn", lambda seed: items("pictures", "test"))
    with pytest.raises(AssertionError, match="test side"):
        album.prepare(tmp_path / "album.jsonl", seed=3, count=4, side=32)
