"""What holds for every task of every skill."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import get_args

import pytest

from gemwright.tasks import skills
from gemwright.tasks.item import Item
from gemwright.tasks.judging import final
from gemwright.tasks.skills import SKILLS, judge, named, sees, tasks
from gemwright.tasks.split import Side, items
from gemwright.text.turns import Message, check_messages

EVERY = [f"{skill.SKILL}/{task}" for skill in skills.EVERY for task in skill.TASKS]


def _items(which: str, count: int = 60, seed: int = 0) -> Iterator[Item]:
    (draw,) = tasks(which)
    for number in range(count):
        yield draw(random.Random(f"{seed} {number}"))


@pytest.mark.parametrize("which", EVERY)
def test_a_judge_accepts_every_ideal(which: str) -> None:
    for item in _items(which, 300):
        verdict = judge(item, item.ideal)
        assert verdict.score == 1.0 and not verdict.reason, (item, verdict)


@pytest.mark.parametrize("which", EVERY)
def test_a_judge_accepts_the_ideal_with_a_line_break_after_it(which: str) -> None:
    for item in _items(which):
        assert judge(item, f"{item.ideal}\n").score == 1.0


@pytest.mark.parametrize("which", EVERY)
def test_a_judge_rejects_an_empty_answer_and_the_question(which: str) -> None:
    for item in _items(which):
        for answer in ("", "\n", item.messages[-1].text):
            verdict = judge(item, answer)
            assert verdict.score == 0.0 and verdict.reason, (item, answer)


@pytest.mark.parametrize("which", EVERY)
def test_a_judge_rejects_the_ideal_of_another_question(which: str) -> None:
    seen = 0
    pool = list(_items(which, 120))
    for item, other in pairwise(pool):
        if item.check != other.check and final(item.ideal) != final(other.ideal):
            seen += 1
            assert judge(item, other.ideal).score == 0.0, (item, other.ideal)
    # A refusal of one kind is the same text for every question of it.
    assert seen > 50 or which in ("refusals/private", "refusals/unknowable")


@pytest.mark.parametrize("which", EVERY)
def test_a_judge_rejects_a_changed_result(which: str) -> None:
    """The last digit of the last line is changed, or, where it has none, the word that must not be missing is cut."""
    for item in _items(which):
        answer = _spoilt(item)
        assert judge(item, answer).score == 0.0, (item, answer)


def _spoilt(item: Item) -> str:
    head, _, last = item.ideal.rpartition("\n")
    if digits := [place for place, character in enumerate(last) if character.isdigit()]:
        place = digits[-1]
        last = f"{last[:place]}{(int(last[place]) + 1) % 10}{last[place + 1 :]}"
        return f"{head}\n{last}".strip()
    for word in (*item.check.get("holds", []), "cannot"):
        if re.search(rf"\b{word}\b", item.ideal, re.IGNORECASE):
            return re.sub(rf"\b{word}\b", "", item.ideal, flags=re.IGNORECASE).replace("Sorry", "")
    return f"{head}\n{last.rpartition(' ')[0]}".strip()  # without the last word


@pytest.mark.parametrize("which", EVERY)
def test_items_are_named_for_their_task_and_end_with_the_users_turn(which: str) -> None:
    for item in _items(which, 20):
        assert f"{item.skill}/{item.task}" == which
        assert item.messages[-1].role == "user" and item.conversation()[-1] == Message("model", item.ideal)
        check_messages(item.conversation())


@pytest.mark.parametrize("which", EVERY)
def test_texts_have_no_white_space_around_them_and_no_unfilled_slots(which: str) -> None:
    for item in _items(which):
        for message in item.conversation():
            assert message.text and message.text == message.text.strip()
            assert not re.search(r"\{[a-z_]*\}", message.text), message.text


@pytest.mark.parametrize("which", EVERY)
def test_the_same_prompt_has_the_same_key_and_ideal(which: str) -> None:
    found: dict[tuple[str, ...], Item] = {}
    for item in _items(which, 400):
        twin = found.setdefault((*(message.text for message in item.messages), json.dumps(item.scene)), item)
        assert (twin.key, twin.parts, twin.ideal) == (item.key, item.parts, item.ideal)


@pytest.mark.parametrize("which", EVERY)
def test_an_item_survives_its_record(which: str) -> None:
    for item in _items(which, 10):
        assert Item.from_json(item.to_json()) == item


@pytest.mark.parametrize("which", EVERY)
def test_a_task_is_said_in_at_least_six_ways(which: str) -> None:
    """Counted by the first two words and the last: what names, numbers and lists leave of a template."""
    ways = {(*item.messages[-1].text.split()[:2], item.messages[-1].text.split()[-1]) for item in _items(which, 400)}
    assert len(ways) >= 6


@pytest.mark.parametrize("side", get_args(Side))
@pytest.mark.parametrize("which", EVERY)
def test_every_task_has_different_prompts_on_both_sides(which: str, side: Side) -> None:
    count = 40 if side == "test" else 100
    prompts = {item.prompt() for item in items(which, side, seed=3, count=count)}
    assert len(prompts) >= count * 0.9


def test_names_that_do_not_exist_are_answered_with_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"no skill 'magic'.*arithmetic.*refusals.*pictures"):
        named("magic")
    with pytest.raises(ValueError, match=r"no task 'add9'.*add2"):
        tasks("arithmetic/add9")


def test_a_skill_has_all_its_tasks() -> None:
    assert len(skills.tasks("arithmetic")) == len(named("arithmetic").TASKS) > 5


def test_only_questions_about_pictures_need_eyes() -> None:
    assert [which for which in EVERY if sees(which)] == [which for which in EVERY if which.startswith("pictures/")]
    assert sees("pictures") and not any(sees(skill.SKILL) for skill in SKILLS)
    for which in EVERY:
        assert all((item.scene is not None) == sees(which) for item in _items(which, 5))
