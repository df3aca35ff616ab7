"""Who reads what, and what is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gemwright.bench import match
from gemwright.bench.measures import batch, decode, prefill
from gemwright.bench.peers import Peer
from gemwright.errors import UserError

FOLDERS = Peer(name="reads folders", command=("x",), reads="folder", load={})
GGUFS = Peer(name="reads ggufs", command=("x",), reads="gguf", load={})


def test_the_questions_are_prompts_drawing_and_a_batch() -> None:
    measures, notes = match.questions([512, 2048, 512], 64, 8, long=4096)
    assert measures == [prefill(512), prefill(2048), decode(64), batch(32, 8), decode(16, 4096)] and not notes


def test_one_sequence_is_no_batch() -> None:
    assert match.questions([512], 64, 1)[0] == [prefill(512), decode(64)]


def test_what_the_model_was_not_made_for_is_left_out_with_a_note() -> None:
    measures, notes = match.questions([512, 2048], 64, 8, limit=1024)
    assert measures == [prefill(512), decode(64), batch(32, 8)]
    assert notes == ["prefill 2,048 is left out: the model was made for 1024 tokens"]


def test_nothing_to_measure_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to measure"):
        match.compare(tmp_path, [], rounds=1)


def test_a_peer_gets_the_form_that_it_reads(tmp_path: Path) -> None:
    folder, file = tmp_path / "model", tmp_path / "model.gguf"
    folder.mkdir()
    file.touch()
    assert match._form(FOLDERS, folder, None, file) == folder == match._form(FOLDERS, file, folder, None)
    assert match._form(GGUFS, folder, None, file) == file == match._form(GGUFS, file, folder, None)


@pytest.mark.parametrize(("peer", "model", "option"), [(FOLDERS, "a.gguf", "--folder"), (GGUFS, "", "--gguf")])
def test_without_that_form_the_option_is_named(tmp_path: Path, peer: Peer, model: str, option: str) -> None:
    with pytest.raises(UserError, match="cannot read") as caught:
        match._form(peer, tmp_path / model, None, None)
    assert option in caught.value.hint


def test_a_form_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        match._form(GGUFS, tmp_path, None, tmp_path / "none.gguf")


def test_the_embedded_model_says_what_it_was_made_for() -> None:
    from gemwright.weights.hub import embedded

    stated = json.loads((embedded() / "config.json").read_text(encoding="utf-8"))
    assert match.context_of(embedded()) == stated["text_config"]["max_position_embeddings"]
