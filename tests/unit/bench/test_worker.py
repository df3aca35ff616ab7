"""This project as a contestant."""

from __future__ import annotations

import pytest
import torch

from gemwright.bench.worker import Gemwright, weight_bytes
from gemwright.engine.engine import Engine
from gemwright.loading import load_model
from gemwright.quant.pack import can_pack, pack
from gemwright.weights.hub import embedded


@pytest.fixture(scope="module")
def player() -> Gemwright:
    return Gemwright(str(embedded()), threads=1, context=64)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The tokens of each sequence in every step that engines run."""
    seen: list[list[int]] = []
    inner = Engine._step

    def watched(self: Engine, members: list) -> None:
        seen.append([part.count for _, part in members])
        inner(self, members)

    monkeypatch.setattr(Engine, "_step", watched)
    return seen


def test_a_prefill_is_one_prompt_and_one_token(player: Gemwright, steps: list[list[int]]) -> None:
    assert player.prefill(tokens=40, seed=1) > 0
    assert steps == [[40]]


def test_decoding_draws_that_many_tokens_behind_the_first(player: Gemwright, steps: list[list[int]]) -> None:
    assert player.decode(tokens=5, context=16, seed=1) > 0
    assert steps == [[16]] + 5 * [[1]]


def test_every_sequence_of_a_batch_draws_in_every_step(player: Gemwright, steps: list[list[int]]) -> None:
    assert player.batch(tokens=4, sequences=3, seed=1) > 0
    assert steps == [[16, 17, 18]] + 4 * [[1, 1, 1]]
    assert player._batch is not None and not player._batch.busy


def test_a_batch_whose_prompts_take_several_steps_is_timed_from_the_last_start(
    player: Gemwright, steps: list[list[int]]
) -> None:
    assert player.batch(tokens=2, sequences=30, seed=1) > 0  # 30 prompts are more than one step's tokens
    assert len(steps) > 3 and steps[-2:] == 2 * [30 * [1]]


def test_a_crowd_reads_its_prompts_and_draws_so_many_tokens_of_each(player: Gemwright, steps: list[list[int]]) -> None:
    found = player.crowd(context=20, tokens=4, sequences=3, seed=1)
    assert steps == [[20, 20, 20]] + 3 * [[1, 1, 1]]
    assert found["seconds"] > 3 * found["step"] > 0


def test_a_crowd_whose_prompts_take_several_steps_draws_together_behind_the_last(
    player: Gemwright, steps: list[list[int]]
) -> None:
    found = player.crowd(context=400, tokens=4, sequences=2, seed=1)  # two prompts are more than one step's tokens
    assert [len(counts) for counts in steps].count(2) > 1 and steps[-1] == [1]
    assert found["seconds"] > 2 * found["step"] > 0


def test_weights_count_what_is_held_packed_or_not() -> None:
    model = load_model(embedded(), dtype=torch.bfloat16).model
    plain = 2 * sum(parameter.numel() for parameter in model.parameters())
    assert weight_bytes(model) == plain
    if can_pack(model):
        pack(model)
        assert weight_bytes(model) == plain
