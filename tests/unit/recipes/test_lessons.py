"""The first lessons: what is to be learnt can be known from what was said."""

from __future__ import annotations

import random
import re

from gemwright.recipes import lessons

POOL = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]


def test_a_copy_is_the_end_of_what_was_said_and_holds_no_more_words_than_allowed() -> None:
    lengths, kinds = set(), set()
    for number in range(200):
        asked, answer = lessons.copy(random.Random(number), POOL, 5)
        assert (asked.role, answer.role) == ("user", "model")
        assert asked.text.rstrip(".").endswith(answer.text)
        said = re.split(r"[, ]+", answer.text)
        lengths.add(len(said))
        kinds |= {"number" if word.isdigit() else "word" for word in said}
        assert all(word.isdigit() or word in POOL for word in said)
    assert lengths == {1, 2, 3, 4, 5} and kinds == {"number", "word"}


def test_each_answer_about_pairs_stands_beside_its_key() -> None:
    turns = set()
    for number in range(200):
        said = lessons.pairs(random.Random(number), POOL, 4)
        text, _, question = said[0].text.rpartition("\n")
        assert [message.role for message in said] == ["user", "model"] * (len(said) // 2)
        for asked, answer in zip(said[::2], said[1::2], strict=True):
            key = asked.text.rpartition("\n")[2].removesuffix("?")
            assert re.search(rf"\b{key}(: | = | is | ){re.escape(answer.text)}(\b|$)", text), said
        assert question and text
        turns.add(len(said) // 2)
    assert turns == {1, 2, 3, 4}


def test_an_end_is_the_first_or_the_last_of_a_row() -> None:
    found = set()
    for number in range(50):
        asked, answer = lessons.ends(random.Random(number), POOL)
        which, _, row = asked.text.partition(": ")
        assert answer.text == row.split()[{"first": 0, "last": -1}[which]]
        found.add(which)
    assert found == {"first", "last"}
