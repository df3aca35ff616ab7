"""Instructions are followed to the letter."""

from __future__ import annotations

import random

import pytest

from gemwright.tasks import instructions
from gemwright.tasks.instructions import OPERATIONS

EXAMPLES = {
    "upper": "THE OLD OTTER SLEPT",
    "title": "The Old Otter Slept",
    "first": "the old",
    "last": "otter slept",
    "reverse": "slept otter old the",
    "sort": "old otter slept the",
    "repeat": "the old otter slept, the old otter slept",
    "numbered": "1. the\n2. old\n3. otter\n4. slept",
    "bullets": "- the\n- old\n- otter\n- slept",
    "quote": '"the old otter slept"',
    "commas": "the, old, otter, slept",
    "json_list": '["the", "old", "otter", "slept"]',
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_does_what_it_says(name: str) -> None:
    assert OPERATIONS[name].apply(["the", "old", "otter", "slept"], 2) == EXAMPLES[name]


def test_two_operations_are_done_in_the_order_in_which_they_are_said() -> None:
    for number in range(300):
        item = instructions.two(random.Random(number))
        text = item.messages[0].text
        said = [(text.lower().find(clause.partition("{n}")[0].strip()), name) for name, clause in _clauses()]
        order = [name for place, name in sorted(said) if place >= 0]
        if "first" in order and "reverse" in order and "sort" not in order:
            words = [word for word in item.key.split()[1:]]
            assert set(item.ideal.lower().split()) <= set(words)
            kept = 4 if "four" in text or "4" in text else 3 if "three" in text or "3" in text else 2
            payload = next(part for part in text.replace("\n", ": ").split(": ") if sorted(part.split()) == words)
            line = payload.split()
            wanted = line[::-1][:kept] if order.index("reverse") < order.index("first") else line[:kept][::-1]
            assert item.ideal == " ".join(wanted)


def _clauses() -> list[tuple[str, str]]:
    return [(name, clause) for name, operation in OPERATIONS.items() for clause in operation.clauses]


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("quote", "json_list")])
def test_another_order_of_the_words_is_wrong(name: str) -> None:
    for number in range(30):
        item = instructions.TASKS[name](random.Random(number))
        one, *more = item.ideal.split(" ")
        if more and more[-1] != one:
            turned = " ".join([more[-1], *more[:-1], one])
            assert instructions.judge(item, turned).score == 0.0


@pytest.mark.parametrize("name", ["upper", "title", "lower", "first", "reverse"])
def test_another_case_is_wrong(name: str) -> None:
    for number in range(30):
        item = instructions.TASKS[name](random.Random(number))
        assert instructions.judge(item, item.ideal.swapcase()).score == 0.0


def test_a_json_list_may_be_spaced_otherwise_and_must_be_json() -> None:
    item = instructions.TASKS["json_list"](random.Random(0))
    assert instructions.judge(item, item.ideal.replace(", ", ",\n")).score == 1.0
    assert instructions.judge(item, item.ideal.replace('"', "'")).score == 0.0


def test_yes_and_no_are_said_truly_and_equally_often() -> None:
    answers = []
    for number in range(200):
        item = instructions.holds(random.Random(number))
        words = item.key.split()[1:]
        asked = [word.strip(".,:?") for word in item.messages[0].text.split()]
        # The word asked for stands once more in the prompt than in the text.
        extra = [word for word in instructions.words.THINGS if asked.count(word) > words.count(word)]
        answers.append(item.ideal)
        assert (item.ideal == "yes") == (extra[0] in words if extra else True)
    assert 70 < answers.count("yes") < 130
