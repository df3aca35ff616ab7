"""The lesson of cut pictures: what its pictures leave of a letter, and that the crops come with their words."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

from gemwright.image.pan_scan import boxes
from gemwright.recipes import cutting
from gemwright.recipes.album import CUTS
from gemwright.tasks.pictures.alphabet import extent
from gemwright.tasks.pictures.scene import Scene
from gemwright.tasks.split import side_of


def test_small_print_is_too_small_in_the_whole_picture_and_large_enough_in_one_crop() -> None:
    for number in range(100):
        item = cutting.small_print(random.Random(number))
        scene = Scene.from_json(item.check["scene"])
        (word,) = scene.words
        left, right = word.x, word.x + extent(word.text, word.height)
        letter = (right - left) / len(word.text)
        assert letter * 96 / scene.width < 4.2
        cuts = boxes(scene.width, scene.height, CUTS)
        holds = [cut for cut in cuts if cut.left - 1 <= left and right <= cut.right + 1]
        assert len(holds) == 1, "no crop holds the whole text"
        assert letter * 96 / (holds[0].right - holds[0].left) > 9


def test_the_lesson_is_small_print_in_crops_and_much_else_with_and_without() -> None:
    counts: dict[tuple[bool, bool], int] = {}
    for record in itertools.islice(cutting.records(5, 16), 200):
        scene = Scene.from_json(record["scene"])
        assert side_of(f"picture {scene.content()}") == "train"
        first = record["messages"][0]
        crops = len(first["images"]) - 1
        assert crops == max(first["content"].count("<start_of_image>") - 1, 0)
        small = len(scene.words) == 1 and scene.width / scene.height > 3.4
        assert crops or not small
        counts[small, crops > 0] = counts.get((small, crops > 0), 0) + 1
    assert 45 <= counts[True, True] <= 100
    assert counts[False, True] >= 8 and counts[False, False] >= 60


def test_a_file_of_the_lesson_is_drawn_once_and_the_same_for_a_seed(tmp_path: Path) -> None:
    first, again, other = (
        cutting.prepare(tmp_path / f"{name}.jsonl", seed=seed, count=6, side=16).read_bytes()
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert first == again != other
    assert len([json.loads(line) for line in first.splitlines()]) == 6
    (tmp_path / "first.jsonl").write_text("mine", encoding="utf-8")
    assert cutting.prepare(tmp_path / "first.jsonl", seed=1, count=6, side=16).read_text(encoding="utf-8") == "mine"
