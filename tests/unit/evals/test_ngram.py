"""Counts against a calculation by hand, and what makes them a model: their probabilities sum to 1."""

from __future__ import annotations

import math

import pytest

from gemwright.evals.ngram import NGram


def test_probabilities_are_witten_and_bells_by_hand() -> None:
    counts = NGram(4, 2)
    counts.learn([0, 1, 2, 1])  # learns 1, 2, 1; contexts: 0→1, 1→2, 2→1
    unigram = (2 + 2 * 0.25) / (3 + 2)  # 1 came twice in three, of two kinds
    bigram = (0 + 1 * unigram) / (1 + 1)  # after 1 only 2 came, once
    assert counts.nats([1, 1]) == pytest.approx([-math.log(unigram), -math.log(bigram)])


@pytest.mark.parametrize("order", [1, 2, 3])
def test_probabilities_sum_to_one(order: int) -> None:
    def taught() -> NGram:
        counts = NGram(5, order)
        counts.learn([0, 3, 1, 3, 1, 2, 0, 3, 1])
        return counts

    before = taught().nats([3, 1])[-1]
    assert sum(math.exp(before - taught().nats([3, 1, last])[-1]) for last in range(5)) == pytest.approx(1)


def test_each_token_is_learnt_after_it_was_predicted() -> None:
    counts = NGram(8, 1)
    assert counts.nats([0, 5])[0] == pytest.approx(math.log(8))
    assert counts.nats([0, 5])[0] == pytest.approx(-math.log((1 + 1 / 8) / 2))
    assert counts.tokens == 2


def test_longer_contexts_tell_more_about_a_text_that_repeats_itself() -> None:
    first, second, third = NGram(50, 3).nats([1, 2, 3, 4, 1, 2, 5, 6] * 20)
    assert third < second < first


def test_it_goes_on_with_what_came_most_often() -> None:
    counts = NGram(10, 3)
    counts.learn([1, 2, 3, 9])
    counts.learn([1, 2, 4, 9])
    counts.learn([1, 2, 4, 9])
    assert counts.go_on([7, 1, 2], most=5, ends={9}) == [4]
    assert counts.go_on([1, 2], most=1, ends=set()) == [4]
    assert NGram(10, 3).go_on([1], most=5, ends=set()) == []


def test_an_order_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="order 0"):
        NGram(10, 0)
