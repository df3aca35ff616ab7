"""A context that nobody asked for is as long as the machine has room for, and a shorter one is said."""

from __future__ import annotations

import warnings

import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.cache.allocate import allocate
from gemwright.engine.draft import Draft
from gemwright.engine.proposer import Facts
from gemwright.engine.room import capacity, default_context, default_sequences, free_bytes
from gemwright.nn.decoder import Decoder

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


def test_another_cache_for_the_same_requests_takes_of_the_same_half() -> None:
    draft = Draft(Decoder(preset("gemma-3-270m", depth=6, vocab=64)))
    whole = size(32_768) + draft.cache_bytes(32_768, 4)
    place = {"dtype": torch.bfloat16, "device": CPU}
    with pytest.warns(UserWarning, match="free memory"):
        found = [
            default_context(LARGE, sequences=4, **place, more=draft.cache_bytes, free=2 * whole - less)
            for less in (0, 1)
        ]
    assert found == [32_768, 16_384]
    one = whole // 4
    few = [
        default_sequences(LARGE, 32_768, **place, int8=False, more=draft.cache_bytes, free=2 * n * one) for n in (2, 3)
    ]
    assert few == [2, 3]


def test_a_draft_s_cache_is_what_it_says_before_it_begins() -> None:
    draft = Draft(Decoder(preset("gemma-3-270m", depth=6, vocab=64, context=512)))
    facts = {"tokenizer": None, "vocab": 64, "context": 1024, "sequences": 3, "chunk": 64, "slack": 8, "banned": ()}
    draft.begin(Facts(**facts))
    assert draft.cache_bytes(1024, 3) == sum(draft._cache.bytes().values())


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
