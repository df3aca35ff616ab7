"""Texts that meet evaluation sets."""

from __future__ import annotations

import random

import pytest

from gemwright.data.decontaminate import Evaluations
from gemwright.data.documents import Conversation, Document
from gemwright.data.shingles import word_hashes
from gemwright.text.turns import Message

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"


def _evaluations(*texts: str, size: int = 13) -> Evaluations:
    items = [Document(name=f"e#{number}", key=text, text=text) for number, text in enumerate(texts, start=1)]
    return Evaluations(items, size=size)


def _met(evaluations: Evaluations, text: str) -> str | None:
    return evaluations.met(word_hashes(text))


def test_thirteen_words_in_a_row_are_met_and_twelve_are_not() -> None:
    evaluations = _evaluations("nothing of the sort is said in any of them", LONG)
    shared = LONG.split()[1:14]
    assert _met(evaluations, "before " + " ".join(shared).upper() + ", after") == "e#2"
    assert _met(evaluations, "before " + " ".join(shared[:12]) + " after") is None


def test_a_shorter_item_is_met_where_a_text_holds_all_of_it_in_a_row() -> None:
    evaluations = _evaluations("What is the capital of France?")
    assert _met(evaluations, "Q: what is the capital of FRANCE - Paris") == "e#1"
    assert _met(evaluations, "the capital of France is what is asked") is None


def test_an_item_of_a_few_words_is_met_only_by_a_text_of_the_same_words() -> None:
    evaluations = _evaluations("Yes.", LONG)
    assert evaluations.short == 1 and evaluations.items == 2
    assert _met(evaluations, "yes!") == "e#1"
    assert _met(evaluations, "yes, it is") is None


def test_a_sign_between_numbers_makes_another_question() -> None:
    evaluations = _evaluations("What is 12 + 34?")
    assert _met(evaluations, "so what is 12 + 34 then") == "e#1"
    assert _met(evaluations, "so what is 12 - 34 then") is None


def test_of_a_conversation_the_whole_and_each_question_count_but_no_system_message() -> None:
    system, answer = "you are a kind and helpful assistant", "the sky is blue because of scattering"
    messages = (Message("system", system), Message("user", "Why is the sky blue?"), Message("model", answer))
    evaluations = Evaluations([Conversation(name="c#1", key="", messages=messages)])
    assert _met(evaluations, f"{system} {system}") is None
    assert _met(evaluations, "why is the sky blue") == "c#1"
    assert _met(evaluations, answer) is None
    assert _met(evaluations, f"... why is the sky blue: {answer}") == "c#1"


def test_what_is_met_is_what_a_search_through_the_words_finds() -> None:
    drawn = random.Random(3)

    def text(length: int) -> list[str]:
        return [drawn.choice("ab") for _ in range(length)]

    items = [text(drawn.randrange(5, 12)) for _ in range(4)]
    evaluations = _evaluations(*map(" ".join, items), size=8)
    runs = {" ".join(item[at : at + 8]) for item in items for at in range(max(1, len(item) - 7))}
    seen = set()
    for _ in range(300):
        found = " ".join(text(drawn.randrange(1, 20)))
        expected = any(f" {run} " in f" {found} " for run in runs)
        assert (_met(evaluations, found) is not None) == expected
        seen.add(expected)
    assert seen == {True, False}


def test_no_items_are_met_by_nothing() -> None:
    assert _met(_evaluations(), LONG) is None and _met(_evaluations(LONG), "") is None


def test_runs_that_are_in_every_text_are_refused() -> None:
    with pytest.raises(ValueError, match="every text"):
        _evaluations(LONG, size=2)
