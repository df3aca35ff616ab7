"""Words, and runs of words as numbers."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemwright.data.shingles import normalised, shingles, word_hashes, words


def test_case_white_space_and_forms_of_characters_make_no_difference() -> None:
    assert normalised(" The\tﬁrst\n\nＬine ") == "the first line" == normalised("THE FIRST LINE")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("“Don't”, she said…", ["don", "t", "she", "said"]),
        ("x = a - b*2", ["x", "=", "a", "-", "b", "*", "2"]),
        ("snake_case(v1.2)", ["snake_case", "v1", "2"]),
        ("東京 is big", ["東", "京", "is", "big"]),
        ("ภาษา", ["ภ", "า", "ษ", "า"]),
        ("ดี", ["ดี"]),  # a vowel sign stays with its letter
        ("हिन्दी", ["हिन्दी"]),
        ("soft\u00adhyphen", ["softhyphen"]),
        ("?!", []),
    ],
)
def test_words_are_found_in_prose_programs_and_other_scripts(text: str, found: list[str]) -> None:
    assert words(text) == found


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(1, 6))
def test_shingles_are_equal_exactly_where_the_runs_of_words_are(letters: list[str], size: int) -> None:
    found = shingles(word_hashes(" ".join(letters)), size).tolist()
    runs = [tuple(letters[at : at + size]) for at in range(len(letters) - size + 1)]
    assert len(found) == len(runs)
    assert len(set(found)) == len(set(runs)) == len(set(zip(found, runs, strict=True)))


def test_the_order_of_words_counts() -> None:
    one, other = (shingles(word_hashes(text), 3) for text in ("a b c", "c b a"))
    assert one[0] != other[0]


def test_hashes_are_the_same_in_every_process() -> None:
    # As Python's own hash of a string is not.
    assert word_hashes("gem wright").tolist() == [17353333864369424990, 851450953544831901]
    assert word_hashes("").dtype == numpy.uint64
