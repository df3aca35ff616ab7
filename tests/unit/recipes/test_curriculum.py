"""What the pocket family reads."""

from __future__ import annotations

import json
import random
from itertools import islice
from pathlib import Path

import pytest

from gemwright.errors import UserError
from gemwright.recipes import curriculum
from gemwright.recipes.curriculum import LESSONS, ROW, Talk, long_text, prepare, records, short_text
from gemwright.tasks import retrieval
from gemwright.tasks.item import Item
from gemwright.tasks.skills import SKILLS
from gemwright.tasks.split import lies_on
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import Message, render

POOL = ["alpha", "beta", "gamma", "delta"] * 10
LAST = LESSONS[-1]


def test_every_skill_is_drawn_from_the_training_side_alone() -> None:
    drawn = [record for record in records(LAST, POOL, seed=1, count=600) if isinstance(record, Item)]
    assert {item.skill for item in drawn} == {skill.SKILL for skill in SKILLS}
    assert all(lies_on(item, "train") for item in drawn)
    assert len({item.prompt() for item in drawn}) > 0.95 * len(drawn)


def test_a_longer_lesson_begins_with_the_shorter_one() -> None:
    def drawn(seed: int, count: int) -> list:
        return list(records(LAST, POOL, seed=seed, count=count))

    assert drawn(3, 50) == list(islice(drawn(3, 200), 50))
    assert drawn(3, 50) != drawn(4, 50)


def test_the_first_lesson_is_no_skill_and_the_next_ones_ask_other_questions() -> None:
    assert not any(isinstance(record, Item) for record in records(LESSONS[0], POOL, seed=1, count=100))
    short, last = (
        {record.prompt() for record in records(lesson, POOL, seed=1, count=300) if isinstance(record, Item)}
        for lesson in LESSONS[1:]
    )
    assert len(short & last) < 0.05 * len(short)


def test_talks_hold_several_questions_of_the_training_side() -> None:
    talks = [record for record in records(LAST, POOL, seed=1, count=300) if isinstance(record, Talk)]
    assert len(talks) > 20 and {len(talk.items) for talk in talks} == {2, 3, 4, 5}
    assert all(lies_on(item, "train") for talk in talks for item in talk.items)
    assert any(len({item.skill for item in talk.items}) > 1 for talk in talks)
    roles = [message.role for message in talks[0].conversation()]
    assert roles == ["user", "model"] * (len(roles) // 2)


@pytest.mark.parametrize(("draw", "most"), [(short_text, 5), (long_text, 17)])
def test_questions_about_one_text_fit_a_row(draw, most: int) -> None:
    counts = set()
    for number in range(30):
        item = draw(random.Random(number))
        asked = [message for message in item.messages if message.role == "user"]
        counts.add(len(asked))
        assert sum(retrieval.size(message.text) + 8 for message in item.conversation()) < ROW
        assert retrieval.judge(item, item.ideal).score == 1.0
    assert 1 <= min(counts) < max(counts) <= most


def test_it_is_made_once_and_another_is_refused(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "curriculum", scale=0.002, vocab=1200)
    for lesson in LESSONS:
        lines = [json.loads(line) for line in curriculum.path(folder, lesson).read_text("utf-8").splitlines()]
        assert len(lines) == lesson.items * 0.002 and all("messages" in line for line in lines)
    facts = json.loads((folder / "curriculum.json").read_text(encoding="utf-8"))
    assert facts["audit"]["overlaps"] == {"keys": 0, "prompts": 0}
    tokenizer, pool = Tokenizer.load(folder / "tokenizer"), curriculum.words_of(folder)
    assert len(pool) > 50 and all(len(tokenizer.encode(f" {word}")) == 1 for word in pool)
    longest = max(len(line) for line in curriculum.path(folder, LAST).read_text("utf-8").splitlines())
    assert longest > 3000
    before = (folder / "train.jsonl").stat().st_mtime_ns
    prepare(folder, scale=0.002, vocab=1200)
    assert (folder / "train.jsonl").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="another curriculum"):
        prepare(folder, scale=0.003, vocab=1200)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_no_conversation_is_longer_than_a_row(lesson: curriculum.Lesson, tokenizer: Tokenizer) -> None:
    for record in records(lesson, [f"word{number}" for number in range(40)], seed=2, count=150):
        said = record if isinstance(record, tuple) else record.conversation()
        assert all(isinstance(message, Message) for message in said)
        if not (isinstance(record, Item) and record.skill == retrieval.SKILL):  # their size is counted in words, above
            assert len(render(said, tokenizer, add_generation_prompt=False).ids) < ROW
