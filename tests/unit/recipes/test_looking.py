"""The lesson of looking up: what is drawn and asked."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

from gemwright.recipes import looking
from gemwright.tasks.pictures.scene import Scene
from gemwright.tasks.split import side_of


def test_a_picture_is_asked_one_kind_of_question() -> None:
    met: Counter[str] = Counter()
    for record in itertools.islice(looking.records(3, 32), 200):
        scene = Scene.from_json(record["scene"])
        assert side_of(f"picture {scene.content()}") == "train"
        first, *rest = record["messages"]
        assert len(first["images"]) == 1 and not any("images" in message for message in rest)
        questions = [message["content"] for message in record["messages"][::2]]
        answers = [message["content"] for message in record["messages"][1::2]]
        assert len(set(questions)) == len(questions) <= 5
        (kind,) = {_kind(answer) for answer in answers}
        met[kind] += 1
        if kind in ("side", "look-up"):
            shapes, colours = {thing.shape for thing in scene.things}, {thing.colour for thing in scene.things}
            assert len(shapes) == len(colours) == len(scene.things) >= 2
        if kind == "look-up":
            assert len(answers) == len(scene.things)
        if kind == "count":
            assert len(answers) <= 2 and 1 <= len(scene.things) <= 6
    assert set(met) == {"count", "relation", "side", "look-up", "existence"} and met["count"] > 40


def _kind(answer: str) -> str:
    if "\n" in answer:
        return "count" if ":" in answer else "relation"
    if answer in ("left", "right", "top", "bottom"):
        return "side"
    return "existence" if answer in ("yes", "no") else "look-up"


def test_so_many_steps_have_their_pictures_and_are_drawn_once(tmp_path: Path) -> None:
    path = looking.prepare(tmp_path / "looking" / "album.jsonl", seed=3, steps=1, side=16)
    lines = path.read_text(encoding="utf-8").splitlines()
    again = [json.dumps(record, ensure_ascii=False) for record in itertools.islice(looking.records(3, 16), len(lines))]
    assert len(lines) > 20 and [json.loads(line) for line in lines] == [json.loads(line) for line in again]
    path.write_text("mine", encoding="utf-8")
    assert looking.prepare(path, seed=9, steps=1, side=16).read_text(encoding="utf-8") == "mine"
    assert next(looking.records(3, 16)) != next(looking.records(4, 16))
