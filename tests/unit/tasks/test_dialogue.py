"""Dialogues ask for what was said last about a thing."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from gemwright.tasks import dialogue
from gemwright.tasks.item import KNOWN, Item, user


def _judged(answer: str, task: str = "correct", **check: Any) -> float:
    item = Item(skill="dialogue", task=task, messages=user("?"), ideal="", key="k", check=check)
    return dialogue.judge(item, answer).score


@pytest.mark.parametrize("task", dialogue.TASKS)
def test_a_dialogue_has_at_most_six_questions_and_most_have_two_or_more(task: str) -> None:
    turns = [(len(dialogue.TASKS[task](random.Random(number)).messages) + 1) // 2 for number in range(200)]
    assert max(turns) <= 6 and sum(count >= 2 for count in turns) > 150


def test_a_corrected_fact_is_asked_for_as_it_was_told_last() -> None:
    corrected = 0
    for number in range(200):
        item = dialogue.correct(random.Random(number))
        (value,) = item.check["holds"]
        for old in item.check["lacks"]:
            if item.ideal.replace(value, old) in _answers(item, old):
                corrected += 1
                assert _last(item, old) < _last(item, value)
    assert corrected > 100


def _last(item: Item, value: str) -> int:
    """The last message of the user that names a value."""
    named = [place for place, each in enumerate(item.messages) if re.search(rf"\b{value}\b", each.text, re.IGNORECASE)]
    return max(place for place in named if item.messages[place].role == "user")


def _answers(item: Item, old: str) -> list[str]:
    """What the model would have answered to the question had it gone by the earlier value."""
    same = [kind for kind in dialogue.KINDS.values() if old in kind.values and item.check["holds"][0] in kind.values]
    return [kind.answer.format(value=old) for kind in same]


def test_what_was_never_told_is_not_known_and_not_made_up() -> None:
    for number in range(100):
        item = dialogue.never_told(random.Random(number))
        assert item.ideal.startswith("You have not told me")
        for value in item.check["lacks"]:
            assert dialogue.judge(item, f"{item.ideal} {value}").score == 0.0


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Your name is Clara.", 1.0),
        ("clara", 1.0),
        ("You are Clara, of course!", 1.0),
        ("Your name is Lena.", 0.0),
        ("Your name is Clara, not Lena.", 0.0),
        ("Your name is not Clara.", 0.0),
        ("Claras", 0.0),
    ],
)
def test_the_right_fact_must_be_named_and_no_other(answer: str, score: float) -> None:
    assert _judged(answer, holds=["Clara"], lacks=["Lena", "the fox"]) == score


def test_a_fact_of_several_words_must_stand_together() -> None:
    assert _judged("It is the fox.", holds=["the fox"], lacks=[]) == 1.0
    assert _judged("The red fox", holds=["the fox"], lacks=[]) == 0.0


def test_questions_about_the_model_are_tested_within_dialogues_only() -> None:
    for number in range(200):
        item = dialogue.about(random.Random(number))
        assert (item.key == KNOWN) == (len(item.messages) == 1)


def test_an_answer_about_the_model_holds_what_no_answer_would_do_without() -> None:
    for questions, answer, holds in dialogue._SELF:
        assert len(questions) >= 4 and _judged(answer, "about", holds=list(holds), lacks=[]) == 1.0
        for _, other, _ in dialogue._SELF:
            assert other == answer or _judged(other, "about", holds=list(holds), lacks=[]) == 0.0
