"""The recipe names what a number depends on, and nothing that changes by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gemwright.engine.request import Sampling
from gemwright.evals.recipe import recipe, sampling_facts
from gemwright.lm import LM, load


def test_the_same_model_has_the_same_recipe(lm: LM, folder: Path) -> None:
    tree = recipe(load(folder, device="cpu", dtype="float32"))
    assert tree == recipe(lm) == json.loads(json.dumps(tree))
    assert tree["folder"] == str(folder) and tree["versions"]["torch"] == torch.__version__


def test_other_weights_are_another_recipe(folder: Path, lm: LM) -> None:
    other = load(folder, device="cpu", dtype="float32")
    with torch.no_grad():
        other.model.final_norm.weight.add_(1.0)  # type: ignore[union-attr]
    assert recipe(other)["weights"] != recipe(lm)["weights"]


@pytest.mark.parametrize(
    ("name", "value"), [("quant", "int8"), ("adapter", "run"), ("threads", 1), ("dtype", "float32")]
)
def test_how_it_ran_is_told(lm: LM, name: str, value: object) -> None:
    assert recipe(lm, quant="int8", adapter="run")[name] == value


def test_sampling_is_told_with_what_the_checkpoint_says(lm: LM) -> None:
    assert lm.tokenizer is not None
    tree = sampling_facts(lm, Sampling(temperature=0, max_tokens=9))
    assert tree["temperature"] == 0 and tree["max_tokens"] == 9 and tree["top_k"] == 64
    assert lm.tokenizer.end_of_turn in tree["stop_ids"]
