"""A long text holds what is asked for once, as far back as was wished."""

from __future__ import annotations

import random
import re

import pytest

from gemwright.tasks import retrieval
from gemwright.tasks.retrieval import question, size


def _draw(number: int = 0, **options) -> retrieval.Item:
    return question("test", random.Random(number), **options)


def test_numbers_their_digits_and_marks_count_as_words() -> None:
    assert size("The code of the owl is 4821.") == 6 + 1 + 4 + 1
    assert size("Owl: 4821.") == 1 + 1 + 1 + 4 + 1


@pytest.mark.parametrize("codes", [True, False])
@pytest.mark.parametrize("words", [60, 200, 500, 900])
def test_a_text_has_the_length_asked_for(words: int, codes: bool) -> None:
    for number in range(5):
        text = _draw(number, words=words, codes=codes).messages[0].text
        assert words <= size(text) <= words + 50


def test_a_text_of_the_greatest_length_holds_64_keys() -> None:
    for number in range(30):
        item = _draw(number, words=900, doubles=number % 2 == 0)
        assert item.check["records"] >= 64 and len(set(item.check["others"])) == item.check["records"] - 1


@pytest.mark.parametrize("task", retrieval.TASKS)
def test_an_item_fits_into_1024_pieces_and_long_ones_come_near(task: str) -> None:
    sizes = []
    for number in range(150):
        messages = retrieval.TASKS[task](random.Random(number)).conversation()
        sizes.append(sum(size(message.text) for message in messages) + 5 * len(messages) + 1)
    assert 850 < max(sizes) < 1000


@pytest.mark.parametrize("back", [10, 512, 800])
def test_the_record_asked_for_is_as_far_back_as_was_wished(back: int) -> None:
    for number in range(10):
        item = _draw(number, words=900, back=back)
        text, value = item.messages[0].text, item.check["value"]
        after = text[text.index(value) + len(value) + 1 :].rpartition("\n")[0]
        assert size(after) == item.check["back"]
        assert abs(item.check["back"] - back) < 40


def test_the_value_stands_in_the_text_once_and_next_to_its_key() -> None:
    for number in range(100):
        item = _draw(number, words=300, codes=number % 2 == 0)
        text, ideal = item.messages[0].text, item.ideal
        body, _, asked = text.rpartition("\n")
        assert len(re.findall(rf"\b{ideal}\b", body)) == 1
        (sentence,) = [sentence for sentence in re.split(r"(?<=\.) |\n", body) if ideal in sentence]
        key = [word for word in re.findall(r"\w+", sentence.lower()) if word in retrieval.words.THINGS]
        assert key and " ".join(key) in asked.lower()


def test_a_key_has_one_value() -> None:
    for number in range(20):
        item = _draw(number, words=900, doubles=number % 2 == 0)
        found = re.findall(r"(?:the|^|\. )([\w ]+?)(?: is|:| has number) (\d{4})", item.messages[0].text, re.IGNORECASE)
        keys = [re.sub(r"^.*the ", "", key.strip().lower()) for key, _ in found]
        assert len(keys) > 30 and len(set(keys)) == len(keys)


def test_earlier_questions_ask_for_other_records_of_the_text() -> None:
    item = _draw(5, before=3)
    answers = [message.text for message in item.conversation() if message.role == "model"]
    assert len(answers) == len(set(answers)) == 4
    assert all(answer in item.messages[0].text for answer in answers)


def test_there_are_thousands_of_keys() -> None:
    found = set()
    for number in range(200):
        found.update(re.findall(r"code of the ([a-z ]+) is", _draw(number, words=900).messages[0].text))
    assert len(found) > 2000


@pytest.mark.parametrize(
    ("answer", "score"),
    [("{value}", 1.0), ("The code is {value}.", 1.0), ("{other}", 0.0), ("{value} or {other}", 0.0), ("{value}1", 0.0)],
)
def test_an_answer_names_the_value_and_no_other(answer: str, score: float) -> None:
    item = _draw(7, words=300)
    text = answer.format(value=item.check["value"], other=item.check["others"][0])
    assert retrieval.judge(item, text).score == score


@pytest.mark.parametrize("words", [0, 901])
def test_a_length_out_of_range_is_refused(words: int) -> None:
    with pytest.raises(ValueError, match="1 to 900"):
        _draw(words=words)
