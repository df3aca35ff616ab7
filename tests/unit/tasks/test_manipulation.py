"""Letters and words are handled as Python's own string methods handle them."""

from __future__ import annotations

import random
import re

import pytest

from gemwright.tasks import manipulation


def test_a_word_backwards_is_the_word_backwards() -> None:
    for number in range(100):
        item = manipulation.backwards(random.Random(number))
        forwards, reversed_letters, last = item.ideal.split("\n")
        assert last == f"= {forwards[::-1].replace('-', '')}" or ", " in forwards
        words = forwards.replace("-", "").split(", ")
        assert item.check["result"].split(", ") == ["".join(reversed(word)) for word in words]
        assert reversed_letters.replace("-", "") == item.check["result"]
        assert all(word in item.messages[0].text for word in words)


def test_letters_are_counted_as_they_stand() -> None:
    zeros = 0
    for number in range(200):
        item = manipulation.count_letter(random.Random(number))
        steps, last = item.ideal.split("\n")
        word = re.sub(r"[-\d]", "", steps)
        (letter,) = {each for each in re.findall(r"\b[a-z]\b", item.messages[0].text)} - {"a"} or {"a"}
        assert word in item.messages[0].text
        assert last == f"= {word.count(letter)}"
        zeros += last == "= 0"
    assert 0 < zeros < 60


def test_lengths_and_word_counts_are_true() -> None:
    for number in range(100):
        word, last = manipulation.length(random.Random(number)).ideal.split("\n")
        assert last == f"= {len(re.sub(r'[-0-9]', '', word))}"
        steps, last = manipulation.count_words(random.Random(number)).ideal.split("\n")
        assert last == f"= {len(re.findall('[a-z]+', steps))}"


def test_without_vowels_no_vowel_is_left_and_no_consonant_lost() -> None:
    for number in range(100):
        steps, last = manipulation.no_vowels(random.Random(number)).ideal.split("\n")
        assert last == "= " + re.sub("[-aeiou]", "", steps)


@pytest.mark.parametrize("task", ["spell", "backwards", "no_vowels", "initials", "join"])
def test_one_letter_too_few_is_wrong(task: str) -> None:
    for number in range(40):
        item = manipulation.TASKS[task](random.Random(number))
        assert manipulation.judge(item, item.ideal[:-1]).score == 0.0


def test_the_word_asked_for_is_at_its_place() -> None:
    for number in range(100):
        item = manipulation.nth_word(random.Random(number))
        text = item.messages[0].text
        place = next((place for place, name in enumerate(manipulation._PLACES) if name in text), -1)
        # The text is the run of the key's words that the prompt holds.
        line = [word for word in re.split(r"[\s:]+", text) if word in item.key.split()[1:]][
            -len(item.key.split()) + 1 :
        ]
        if sorted(line) == item.key.split()[1:] and "the" not in line:
            assert item.ideal == line[place]


def test_steps_without_a_result_are_wrong_and_a_result_without_steps_is_right() -> None:
    item = manipulation.backwards(random.Random(3))
    assert manipulation.judge(item, item.ideal.split("\n")[0]).score == 0.0
    assert manipulation.judge(item, item.check["result"]).score == 1.0
