"""What a checkpoint says about sampling."""

from __future__ import annotations

import json

import pytest

from gemwright.errors import UserError
from gemwright.weights.generation import read_generation


def test_sampling_defaults_are_read(tmp_path) -> None:
    stated = {
        "do_sample": True,
        "top_k": 64,
        "top_p": 0.95,
        "bos_token_id": 2,
        "eos_token_id": [1, 106],
        "pad_token_id": 0,
    }
    (tmp_path / "generation_config.json").write_text(json.dumps(stated | {"cache_implementation": "hybrid"}))
    assert read_generation(tmp_path) == stated | {"eos_token_id": (1, 106)}


def test_special_ids_fall_back_on_the_config(tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [1, 106], "text_config": {"bos_token_id": 2}}))
    assert read_generation(tmp_path) == {"eos_token_id": (1, 106), "bos_token_id": 2}
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 1}))
    assert read_generation(tmp_path)["eos_token_id"] == (1,)


def test_an_empty_folder_says_nothing(tmp_path) -> None:
    assert read_generation(tmp_path) == {}


@pytest.mark.parametrize(
    "stated",
    [
        *({"top_p": 1.5}, {"top_k": -1}, {"temperature": "hot"}, {"eos_token_id": [1, "x"]}, {"eos_token_id": -3}),
        *({"repetition_penalty": 0}, {"do_sample": "yes"}),
    ],
    ids=str,
)
def test_a_value_that_makes_no_sense_is_refused_by_name(stated, tmp_path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(stated))
    with pytest.raises(UserError, match=next(iter(stated))):
        read_generation(tmp_path)
