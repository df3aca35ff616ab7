"""What an answer comes to."""

from __future__ import annotations

import pytest

from gemwright.tasks.judging import final_number, judge_final, judge_number, judge_sentence, judge_text, words_of


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("623", 623),
        ("7+6=13\n= 623", 623),
        ("7+6=13\n= 623\n\n", 623),
        ("347 + 276 = 623.", 623),
        ("There are 623 apples.", 623),
        ("= -5", -5),
        ("= 6 or 7", None),
        ("347 + 276", None),
        ("= 6.23", None),
        ("none", None),
        ("", None),
    ],
)
def test_an_answer_comes_to_the_one_number_of_its_last_line(answer: str, number: int | None) -> None:
    assert final_number(answer) == number


def test_only_the_result_counts_and_not_the_steps() -> None:
    assert judge_number("1+1=3\n= 4", 4).score == 1.0
    assert judge_number("2+2=4\n= 5", 4).score == 0.0


def test_white_space_around_lines_is_forgiven_and_within_them_is_not() -> None:
    assert judge_text("  1. a\n\n 2. b \n", "1. a\n2. b").score == 1.0
    assert judge_text("1. a 2. b", "1. a\n2. b").score == 0.0
    assert judge_text("a  b", "a b").score == 0.0


def test_a_letter_and_its_accent_are_the_same_as_the_accented_letter() -> None:
    assert judge_text("cafe\u0301", "caf\u00e9").score == 1.0


def test_a_sentence_may_lack_its_full_stop_and_nothing_else() -> None:
    assert judge_sentence("The dog is red", "The dog is red.").score == 1.0
    assert judge_sentence("the dog is red.", "The dog is red.").score == 0.0


def test_what_follows_the_last_equals_sign_is_the_result() -> None:
    assert judge_final("a-b\n= ba", "ba").score == 1.0
    assert judge_final("= ba\nab", "ba").score == 0.0


def test_words_are_taken_in_lower_case_without_marks() -> None:
    assert words_of("Four o'clock, then: well-known Élan!") == ["four", "o'clock", "then", "well-known", "élan"]
