"""What the pocket family reads."""

from __future__ import annotations

import json
import random
from itertools import islice
from pathlib import Path

import pytest

from gemwright.errors import UserError
from gemwright.recipes.curriculum import (
    COPYING,
    ROW,
    Copying,
    copies,
    copies_path,
    drill,
    many_questions,
    prepare,
    records,
)
from gemwright.tasks import retrieval
from gemwright.tasks.item import Item
from gemwright.tasks.skills import SKILLS
from gemwright.tasks.split import lies_on
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import render


def test_every_skill_is_drawn_from_the_training_side_alone() -> None:
    drawn = [record for record in records(1, 600) if isinstance(record, Item)]
    assert {item.skill for item in drawn} == {skill.SKILL for skill in SKILLS}
    assert all(lies_on(item, "train") for item in drawn)
    assert len({item.prompt() for item in drawn}) > 0.95 * len(drawn)


def test_a_longer_curriculum_begins_with_the_shorter_one() -> None:
    assert list(records(3, 50)) == list(islice(records(3, 400), 50))
    assert list(records(3, 50)) != list(records(4, 50))


def test_what_a_drill_says_again_is_known_from_its_beginning() -> None:
    kinds = set()
    for number in range(100):
        text = drill(random.Random(number))
        first, gap, second = text.partition("\n\n")
        if gap:
            assert sorted(first.splitlines()) == sorted(second.splitlines())
            keys = [line.partition(": ")[0] for line in first.splitlines()]
            assert len(keys) == len(set(keys)) >= 3
            kinds.add("pairs")
        else:
            repeated = [text == "\n".join([text[: (len(text) + 1) // times - 1]] * times) for times in (2, 3, 4)]
            assert any(repeated)
            kinds.add("far" if len(text) // 2 > 300 else "near")
    assert kinds == {"pairs", "far", "near"}


@pytest.mark.parametrize("stage", COPYING, ids=lambda stage: str(stage.window))
def test_copies_say_a_text_of_single_pieces_again(stage: Copying) -> None:
    pool = ["alpha", "beta", "gamma", "delta"]
    for number in range(100):
        said = copies(random.Random(number), pool, stage).split()
        assert set(said) <= set(pool)
        parts = [said[: len(said) // times] for times in (2, 3, 4) if said == said[: len(said) // times] * times]
        assert any(stage.shortest <= len(part) <= stage.longest for part in parts)
        assert len(said) < ROW


def test_many_questions_are_asked_about_one_text_and_fit_a_row() -> None:
    for number in range(20):
        item = many_questions(random.Random(number))
        asked = [message for message in item.messages if message.role == "user"]
        assert 5 <= len(asked) <= 17
        assert sum(retrieval.size(message.text) + 8 for message in item.conversation()) < ROW
        assert retrieval.judge(item, item.ideal).score == 1.0


def test_it_is_made_once_and_another_is_refused(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "curriculum", count=300, vocab=1200)
    lines = [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 300 and {"text"} in [set(line) for line in lines]
    facts = json.loads((folder / "curriculum.json").read_text(encoding="utf-8"))
    assert facts["audit"]["overlaps"] == {"keys": 0, "prompts": 0}
    tokenizer = Tokenizer.load(folder / "tokenizer")
    item = next(record for record in records(1, 10) if isinstance(record, Item))
    assert len(render(item.conversation(), tokenizer, add_generation_prompt=False).ids) < ROW
    first = json.loads(copies_path(folder, 0).read_text(encoding="utf-8").splitlines()[0])["text"]
    assert len(tokenizer.encode(first)) == len(first.split())
    before = (folder / "train.jsonl").stat().st_mtime_ns
    prepare(folder, count=300, vocab=1200)
    assert (folder / "train.jsonl").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="another curriculum"):
        prepare(folder, count=301, vocab=1200)
