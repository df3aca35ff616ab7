"""Defaults of sampling in GGUF files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemwright.errors import UserError
from gemwright.weights.gguf.generation import entries, read_generation
from gemwright.weights.gguf.header import Header
from gemwright.weights.gguf.tokenizer import Vocabulary


def test_defaults_come_back(build: Callable[..., Path]) -> None:
    generation: dict[str, Any] = {"temperature": 0.7, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
    generation["repetition_penalty"] = 1.1
    assert read_generation(Header(build(entries(generation), {})), None) == generation


def test_greedy_is_a_temperature_of_0() -> None:
    assert entries({"do_sample": False, "temperature": 1.0}) == {"general.sampling.temp": 0.0}
    assert entries({"do_sample": True}) == {}


def test_both_ends_of_a_text_are_stop_ids(build: Callable[..., Path]) -> None:
    vocabulary = Vocabulary(pieces=(), ids={"bos": 2, "eos": 1, "pad": 0, "eot": 106}, template=None)
    found = read_generation(Header(build({}, {})), vocabulary)
    assert found == {"eos_token_id": (1, 106), "bos_token_id": 2, "pad_token_id": 0}


@pytest.mark.parametrize(("key", "value"), [("temp", "hot"), ("top_k", 1.5), ("top_p", 2.0)])
def test_defaults_that_mean_nothing_are_named(build: Callable[..., Path], key: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"general.sampling.{key}"):
        read_generation(Header(build({f"general.sampling.{key}": value}, {})), None)
