"""Stories come to what their numbers come to."""

from __future__ import annotations

import random
import re

import pytest

from gemwright.tasks import word_problems
from gemwright.tasks.arithmetic import pair_key

RESULTS = {
    "gain": lambda a, b: a + b,
    "lose": lambda a, b: a - b,
    "groups": lambda a, b: a * b,
    "gain_lose": lambda a, b, c: a + b - c,
    "lose_gain": lambda a, b, c: a - b + c,
    "groups_gain": lambda a, b, c: a * b + c,
}


@pytest.mark.parametrize("task", word_problems.TASKS)
def test_the_result_is_that_of_the_storys_numbers(task: str) -> None:
    for number in range(200):
        item = word_problems.TASKS[task](random.Random(number))
        numbers = [int(each) for each in re.findall(r"\d+", item.messages[0].text)]
        assert item.check["result"] == RESULTS[task](*numbers) >= 0


def test_each_operation_of_a_story_has_the_key_of_its_pair() -> None:
    for number in range(100):
        item = word_problems.gain_lose(random.Random(number))
        a, b, c = (int(each) for each in re.findall(r"\d+", item.messages[0].text))
        assert (item.key, item.parts) == (pair_key(a, b), (pair_key(a + b, c),))


def test_an_answer_without_steps_is_right_and_steps_without_an_answer_are_not() -> None:
    item = word_problems.gain(random.Random(0))
    assert word_problems.judge(item, str(item.check["result"])).score == 1.0
    assert word_problems.judge(item, item.ideal.splitlines()[0]).score == 0.0
