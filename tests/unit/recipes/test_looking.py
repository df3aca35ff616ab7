"""The lesson of looking up: what is drawn and asked."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from gemwright.recipes import looking
from gemwright.tasks.pictures import describe
from gemwright.tasks.pictures.scene import Scene
from gemwright.tasks.split import side_of


def test_a_look_up_is_a_question_for_each_of_two_to_five_things_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_LOOK_UPS", 1.0)
    met = set()
    for record in itertools.islice(looking.records(3, 32), 30):
        scene = Scene.from_json(record["scene"])
        shapes, colours = {thing.shape for thing in scene.things}, {thing.colour for thing in scene.things}
        assert len(shapes) == len(colours) == len(scene.things) and side_of(f"picture {scene.content()}") == "train"
        told = [message["content"] == describe.described(scene) for message in record["messages"]]
        assert not any(told[:-1]) and len(told) == 2 * (len(scene.things) + told[-1])
        first, *rest = record["messages"]
        assert len(first["images"]) == 1 and not any("images" in message for message in rest)
        met.add((len(scene.things), told[-1]))
    assert {told for _, told in met} == {True, False} and {count for count, _ in met} == {2, 3, 4, 5}


def test_the_other_half_counts_or_asks_where_what_is_named_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_LOOK_UPS", 0.0)
    counts = 0
    for record in itertools.islice(looking.records(3, 32), 40):
        scene = Scene.from_json(record["scene"])
        assert side_of(f"picture {scene.content()}") == "train" and len(record["messages"]) in (2, 4, 6)
        counts += len(record["messages"]) == 2 and "\n= " in record["messages"][1]["content"]
    assert 10 < counts < 40


def test_so_many_steps_have_their_pictures_and_are_drawn_once(tmp_path: Path) -> None:
    path = looking.prepare(tmp_path / "looking" / "album.jsonl", seed=3, steps=1, side=16)
    lines = path.read_text(encoding="utf-8").splitlines()
    again = [json.dumps(record, ensure_ascii=False) for record in itertools.islice(looking.records(3, 16), len(lines))]
    assert len(lines) > 20 and [json.loads(line) for line in lines] == [json.loads(line) for line in again]
    path.write_text("mine", encoding="utf-8")
    assert looking.prepare(path, seed=9, steps=1, side=16).read_text(encoding="utf-8") == "mine"
    assert next(looking.records(3, 16)) != next(looking.records(4, 16))
