"""This project's server as a contestant."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gemwright.bench.client import Reply
from gemwright.bench.served import Served, step_seconds
from gemwright.errors import UserError
from gemwright.loading import open_checkpoint
from gemwright.weights.hub import embedded

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")


@pytest.fixture(scope="module")
def player() -> Iterator[Served]:
    vocab = open_checkpoint(embedded()).spec.vocab
    found = Served(str(embedded()), 1, 900, 3, vocab, ("--speculate", "off"))
    yield found
    found.close()


def reply(*pieces: float, end: float) -> Reply:
    return Reply(first=pieces[0], pieces=pieces, end=end, text="x", usage={})


def test_a_step_is_timed_between_the_last_beginning_and_the_first_end() -> None:
    early = reply(0.0, 1.0, 2.0, 3.0, 4.0, end=4.0)
    late = reply(2.0, 3.0, 4.0, 6.0, end=6.0)
    assert step_seconds([early, late]) == 1.0


def test_a_token_without_text_does_not_hide_a_step() -> None:
    assert step_seconds([reply(0.0, 1.0, 2.0, 3.0, end=3.0), reply(0.0, 3.0, end=4.0)]) == 1.0


def test_answers_that_did_not_overlap_have_no_such_step() -> None:
    with pytest.raises(UserError, match="overlap"):
        step_seconds([reply(0.0, 1.0, end=1.0), reply(2.0, 3.0, end=3.0)])


def test_many_answers_take_longer_than_a_step_of_all(player: Served) -> None:
    found = player.crowd(context=40, tokens=400, sequences=3, seed=1)  # enough to overlap on a busy machine
    assert found["seconds"] > found["step"] > 0


def test_a_prompt_is_read_and_tokens_are_drawn(player: Served) -> None:
    assert player.prefill(tokens=40, seed=1) > 0 and player.decode(tokens=8, context=40, seed=2) > 0


def test_a_second_turn_finds_the_history_again(player: Served) -> None:
    found = player.turns(context=600, seed=1)  # refuses a server that does not find it
    assert found["seconds"] > 0 and found["unread"] > 0


def test_the_peak_is_that_of_the_server(player: Served) -> None:
    assert player.peak() > 50e6


def test_a_prompt_that_the_server_knows_is_no_measurement(player: Served) -> None:
    player.prefill(tokens=48, seed=5)
    with pytest.raises(UserError, match="read"):
        player.prefill(tokens=48, seed=5)


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(UserError, match=r"did not start: .*nowhere"):
        Served("/nowhere.gguf", 1, 64, 1, 256)
