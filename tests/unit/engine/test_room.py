"""A context that nobody asked for is as long as the machine has room for, and a shorter one is said."""

from __future__ import annotations

import warnings

import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.cache.allocate import allocate
from gemwright.engine.room import capacity, default_context, default_sequences, free_bytes

CPU = torch.device("cpu")
LARGE = preset("gemma-3-4b")


def size(context: int) -> int:
    return sum(allocate(LARGE, sequences=4, tokens=context, dtype=torch.bfloat16, device="meta").bytes().values())


def test_with_room_the_models_own_context_is_taken_in_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = default_context(LARGE, sequences=4, dtype=torch.bfloat16, device=CPU, free=2 * size(131_072))
    assert found == 131_072


def test_without_room_it_is_halved_until_the_cache_takes_half_of_the_memory() -> None:
    with pytest.warns(UserWarning, match="16384 tokens instead of 131072"):
        found = default_context(LARGE, sequences=4, dtype=torch.bfloat16, device=CPU, free=2 * size(32_768) - 1)
    assert found == 16_384


def test_it_is_never_shorter_than_a_conversation_needs() -> None:
    with pytest.warns(UserWarning, match="free memory"):
        assert default_context(LARGE, sequences=4, dtype=torch.bfloat16, device=CPU, free=1) == 2048


def test_a_model_without_a_limit_stays_without_one() -> None:
    spec = preset("recurrentgemma-2b")
    assert default_context(spec, sequences=4, dtype=torch.bfloat16, device=CPU, free=1) is None
    assert capacity(spec, None) == 2048  # its window


def test_a_global_layer_without_any_limit_is_misuse() -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match="needs a context"):
        capacity(replace(LARGE, context=None), None)


def test_the_system_tells_how_much_memory_is_free() -> None:
    free = free_bytes(CPU)
    assert free is None or 1 << 20 < free < 1 << 50


def test_sequences_are_four_or_as_many_as_have_their_context_in_half_of_the_memory() -> None:
    one, place = size(32_768) // 4, {"dtype": torch.bfloat16, "device": CPU, "int8": False}
    found = [default_sequences(LARGE, 32_768, free=free, **place) for free in (20 * one, 8 * one, 5 * one, one)]
    assert found == [4, 4, 2, 1]
    assert default_sequences(LARGE, None, free=one, **place) == 4
