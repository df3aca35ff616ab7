"""The lists of words are what the tasks take them for."""

from __future__ import annotations

import random

import pytest

from gemwright.tasks import words

LISTS = (
    "NAMES",
    "SURNAMES",
    "ADJECTIVES",
    "NOUNS",
    "ITEMS",
    "VERBS",
    "PLACES",
    "CITIES",
    "COLOURS",
    "FOODS",
    "ANIMALS",
)


@pytest.mark.parametrize("name", LISTS)
def test_no_word_of_a_list_comes_twice(name: str) -> None:
    found = getattr(words, name)
    assert len(set(found)) == len(found) and all(word.isalpha() for word in found)


def test_a_name_is_no_city() -> None:
    assert not set(words.NAMES) & set(words.CITIES)


def test_a_noun_is_no_adjective() -> None:
    assert not set(words.NOUNS) & set(words.ADJECTIVES)


def test_invented_words_hardly_come_twice() -> None:
    generator = random.Random(0)
    found = [words.invented(generator, 3) for _ in range(2000)]
    assert len(set(found)) > 1950 and not set(found) & set(words.THINGS)


def test_a_key_does_not_depend_on_order_or_case() -> None:
    assert words.key_of(["Otter", "key"]) == words.key_of(["KEY", "otter"]) != words.key_of(["key", "otter", "key"])
