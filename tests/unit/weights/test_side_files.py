"""What goes along when a checkpoint of another format becomes a Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import transformers

from gemwright.text.tokenizer import Tokenizer
from gemwright.weights.side_files import GENERATION, TOKENIZER_FILES, beside, picture_marks, tokenizer_files


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    (tmp_path / "tokenizer.json").write_bytes(tokenizer.source.read_bytes())
    (tmp_path / "notes.txt").touch()
    return tmp_path


def test_all_files_of_a_tokenizer_go_along_and_no_others(folder: Path) -> None:
    for name in TOKENIZER_FILES:
        (folder / name).touch()
    assert {path.name for path in tokenizer_files(folder)} == set(TOKENIZER_FILES)
    assert {"tokenizer.model", "tokenizer.json", "added_tokens.json", "chat_template.jinja"} <= set(TOKENIZER_FILES)


def test_stated_stops_are_copied_and_not_written(folder: Path) -> None:
    (folder / GENERATION).write_text('{"eos_token_id": 7}')
    files, documents = beside(folder)
    assert [path.name for path in files] == ["tokenizer.json", GENERATION] and documents == {}


def test_a_tokenizer_with_turn_marks_states_both_stops(folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    files, documents = beside(folder)
    assert [path.name for path in files] == ["tokenizer.json"]
    (tmp_path / GENERATION).write_text(json.dumps(documents[GENERATION]))
    read = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert read.eos_token_id == [tokenizer.eos, tokenizer.end_of_turn]
    assert (read.bos_token_id, read.pad_token_id) == (tokenizer.bos, tokenizer.pad)


def test_the_marks_of_a_picture_are_those_of_the_vocabulary(folder: Path, tokenizer: Tokenizer) -> None:
    """Where it does not name the soft token, that comes behind all pieces."""
    assert picture_marks([folder / "notes.txt"]) is None
    marks = picture_marks([folder / "notes.txt", folder / "tokenizer.json"])
    assert marks == (tokenizer.start_of_image, tokenizer.vocab_size, tokenizer.end_of_image)
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace("of_image>", "of_talk>"))
    assert picture_marks([folder / "tokenizer.json"]) is None


def test_without_a_tokenizer_nothing_is_made_up(tmp_path: Path) -> None:
    assert beside(tmp_path) == ([], {})


def test_without_turn_marks_nothing_is_made_up(folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace("of_turn>", "of_talk>"))
    assert not Tokenizer.load(folder).supports_turns
    assert beside(folder)[1] == {}
