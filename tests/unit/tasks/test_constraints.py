"""Free answers are judged by what they must hold."""

from __future__ import annotations

import json
import random

import pytest

from gemwright.tasks import constraints


@pytest.mark.parametrize(
    ("check", "answer", "score"),
    [
        ({"choose": 2, "of": ["otter", "moon", "key"]}, "moon, otter", 1.0),
        ({"choose": 2, "of": ["otter", "moon", "key"]}, "- moon\n- key", 1.0),
        ({"choose": 2, "of": ["otter", "moon", "key"]}, "moon", 0.0),
        ({"choose": 2, "of": ["otter", "moon", "key"]}, "moon, otter, key", 0.0),
        ({"choose": 2, "of": ["otter", "moon", "key"]}, "moon, moon", 0.0),
        ({"choose": 2, "of": ["otter", "moon", "key"]}, "moon, sun", 0.0),
        ({"sentence": ["otter", "calm"], "begin": "Today", "end": ""}, "Today the otter is calm.", 1.0),
        ({"sentence": ["otter", "calm"], "begin": "Today", "end": ""}, "Today I saw a calm otter!", 1.0),
        ({"sentence": ["otter", "calm"], "begin": "Today", "end": ""}, "The otter is calm today.", 0.0),
        ({"sentence": ["otter", "calm"], "begin": "Today", "end": ""}, "Today the otter is happy.", 0.0),
        ({"sentence": ["otter", "calm"], "begin": "", "end": "again"}, "The otter is calm again.", 1.0),
        ({"sentence": ["otter", "calm"], "begin": "", "end": "again"}, "Again the otter is calm.", 0.0),
        ({"sentence": ["otter", "calm"], "begin": "", "end": "again"}, "otter calm again", 0.0),
        ({"sentence": ["otter", "calm"], "words": 5}, "The calm otter is here.", 1.0),
        ({"sentence": ["otter", "calm"], "words": 5}, "The otter is calm.", 0.0),
        ({"sentence": ["otter", "calm"], "words": 5}, "The otter\nis calm here", 0.0),
        ({"json": {"name": "Anna", "age": 5}}, '{"age":5,"name":"Anna"}', 1.0),
        ({"json": {"name": "Anna", "age": 5}}, '{"age": "5", "name": "Anna"}', 0.0),
        ({"json": {"name": "Anna", "age": 5}}, '{"age": 5.0, "name": "Anna"}', 0.0),
        ({"json": {"name": "Anna", "age": 5}}, '{"age": 5}', 0.0),
        ({"json": {"name": "Anna", "age": 5}}, '{"age": 5, "name": "Anna", "city": "Oslo"}', 0.0),
        ({"json": {"name": "Anna", "age": 5}}, "{'age': 5, 'name': 'Anna'}", 0.0),
        ({"json": {"age": 1}}, '{"age": true}', 0.0),
        ({"json": {"age": 1}}, '{"age": 2, "age": 1}', 0.0),
        ({"json": {"age": 1}}, "[" * 100_000, 0.0),
    ],
)
def test_an_answer_is_judged_by_what_it_must_hold(check: dict[str, object], answer: str, score: float) -> None:
    assert constraints.judge(check, answer).score == score


def test_the_facts_asked_for_stand_in_the_text() -> None:
    for number in range(100):
        item = constraints.as_json(random.Random(number))
        wanted = json.loads(item.ideal)
        text = item.messages[0].text
        assert wanted and all(str(value) in text and key in text for key, value in wanted.items())


def test_a_counted_sentence_has_the_number_of_words_asked_for() -> None:
    for number in range(100):
        item = constraints.counted(random.Random(number))
        assert len(item.ideal.split()) == item.check["words"]
