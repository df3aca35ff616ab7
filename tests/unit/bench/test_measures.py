"""What the figures of a table are made of."""

from __future__ import annotations

import pytest

from gemwright.bench.measures import Entry, batch, crowd, decode, longest, part, prefill


def test_speed_is_that_of_the_median_round() -> None:
    entry = Entry(name="a", seconds={"prefill 512": [4.0, 1.0, 2.0]})
    assert entry.speed(prefill(512)) == 256.0


def test_a_batch_counts_the_tokens_of_all_sequences_and_reads_the_weights_once_a_step() -> None:
    measure = batch(10, 8)
    entry = Entry(name="a", weights=3_000_000_000, seconds={measure.name: [2.0]})
    assert entry.speed(measure) == 40.0 and entry.rate(measure) == pytest.approx(15.0)


def test_a_crowd_counts_the_tokens_that_are_read_and_those_that_are_drawn() -> None:
    measure = crowd(512, 128, 8)
    assert measure.tokens == 8 * 640
    assert part(measure, "seconds") == measure.name != part(measure, "step")


def test_decoding_reads_the_weights_for_every_token() -> None:
    entry = Entry(name="a", weights=500_000_000, seconds={"decode": [2.0]})
    assert entry.rate(decode(64)) == pytest.approx(16.0)


def test_a_prompt_is_no_matter_of_bandwidth() -> None:
    entry = Entry(name="a", weights=5, seconds={"prefill 512": [2.0]})
    assert entry.rate(prefill(512)) is None


def test_what_was_not_measured_has_no_figures() -> None:
    assert Entry(name="a").speed(decode(4)) is None and Entry(name="a").rate(decode(4)) is None


def test_the_longest_sequence_holds_prompt_and_answer() -> None:
    assert longest([]) == 17
    assert longest([prefill(512), decode(64), batch(500, 8)]) == 513
    assert longest([prefill(512), decode(16, 1000)]) == 1017
