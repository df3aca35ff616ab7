"""A vocabulary's way into a GGUF file and back: the ids of any text are the same."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gemwright.errors import UserError
from gemwright.text.sentencepiece_file import CONTROL, NORMAL, UNUSED, USER_DEFINED, Piece
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.train import train_tokenizer
from gemwright.weights.gguf.header import Header
from gemwright.weights.gguf.tokenizer import Vocabulary, entries, read_vocabulary, trimmed, vocabulary_of

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
TEXTS = (
    (LIBRARY / "textwrap.py").read_text("utf-8"),
    "Grüße, 日本! \x00 \x7f 🙂 ▁▁ <0x0A> <unk> <bos>",
    " " * 70 + "\n" * 70 + "\t" * 20 + " \n \n\t \n",
    "<start_of_turn>user\nHi<end_of_turn>\n",
)
KEY = "tokenizer.ggml."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabulary")
    train_tokenizer([LIBRARY / "argparse.py", LIBRARY / "ast.py"], 900, folder)
    return folder


def read(build: Callable[..., Path], tree: dict[str, Any]) -> Vocabulary:
    found = read_vocabulary(Header(build(tree, {})))
    assert found is not None
    return found


def same_ids(one: Tokenizer, other: Tokenizer) -> bool:
    return all(
        one.encode(text, special=special) == other.encode(text, special=special)
        for text in TEXTS
        for special in (False, True)
    )


@pytest.mark.parametrize("form", ["model", "json"])
def test_the_ids_are_the_same_from_either_form_of_the_vocabulary(
    build: Callable[..., Path], folder: Path, tmp_path: Path, form: Any
) -> None:
    alone = tmp_path / form
    alone.mkdir()
    for name in ("tokenizer_config.json", f"tokenizer.{form}"):
        shutil.copy(folder / name, alone)
    vocabulary = vocabulary_of(alone)
    assert vocabulary is not None
    ours, back = Tokenizer.load(folder), read(build, entries(vocabulary)).tokenizer(Path("x.gguf"))
    assert back.fingerprint() == ours.fingerprint() and same_ids(ours, back)
    assert (back.bos, back.eos, back.pad, back.unk) == (ours.bos, ours.eos, ours.pad, ours.unk)
    assert back.special_ids == ours.special_ids and back.end_of_turn == ours.end_of_turn


def test_the_template_comes_along(build: Callable[..., Path], folder: Path) -> None:
    vocabulary = vocabulary_of(folder)
    assert vocabulary is not None and vocabulary.template
    assert read(build, entries(vocabulary)).template == vocabulary.template


def test_marks_are_control_pieces_and_runs_are_spelled_with_spaces(folder: Path) -> None:
    """As llama.cpp wants them: it looks for pieces that are matched as they stand before it replaces spaces."""
    vocabulary = vocabulary_of(folder)
    assert vocabulary is not None
    tree = entries(vocabulary)
    kinds = dict(zip(tree[KEY + "tokens"], tree[KEY + "token_type"], strict=True))
    assert kinds["<end_of_turn>"] == CONTROL and kinds["   "] == USER_DEFINED and "▁▁▁" not in kinds
    assert tree[KEY + "add_space_prefix"] is False and tree[KEY + "add_bos_token"] is True


def test_an_old_file_that_lost_the_types_of_pieces_gives_the_same_ids(build: Callable[..., Path], folder: Path) -> None:
    vocabulary = vocabulary_of(folder)
    assert vocabulary is not None
    tree = entries(vocabulary)
    lost = [kind == USER_DEFINED for kind in tree[KEY + "token_type"]]
    tree[KEY + "token_type"] = [
        NORMAL if was else kind for was, kind in zip(lost, tree[KEY + "token_type"], strict=True)
    ]
    tree[KEY + "scores"] = [0.0 if was else score for was, score in zip(lost, tree[KEY + "scores"], strict=True)]
    tree[KEY + "tokens"] = [
        text.replace(" ", "▁") if was else text for was, text in zip(lost, tree[KEY + "tokens"], strict=True)
    ]
    assert same_ids(Tokenizer.load(folder), read(build, tree).tokenizer(Path("x.gguf")))


def test_the_end_of_a_turn_is_stated_where_the_checkpoint_states_it(folder: Path, tmp_path: Path) -> None:
    tuned = tmp_path / "tuned"
    shutil.copytree(folder, tuned)
    ours = Tokenizer.load(folder)
    (tuned / "generation_config.json").write_text(f'{{"eos_token_id": [1, {ours.end_of_turn}]}}')
    plain, talking = vocabulary_of(folder), vocabulary_of(tuned)
    assert plain is not None and talking is not None
    assert "eot" not in plain.ids and talking.ids["eot"] == ours.end_of_turn


def test_rows_that_no_piece_has_are_no_pieces(build: Callable[..., Path], folder: Path) -> None:
    vocabulary = vocabulary_of(folder)
    assert vocabulary is not None
    size = len(vocabulary.pieces)
    spare = tuple(Piece(f"[PAD{size + at}]", -10_000.0, UNUSED) for at in range(3))
    padded = replace(vocabulary, pieces=(*vocabulary.pieces, *spare))
    assert len(read(build, entries(padded)).pieces) == size


def test_the_image_piece_goes_where_the_table_has_no_row_for_it(folder: Path) -> None:
    vocabulary = vocabulary_of(folder)
    assert vocabulary is not None
    size = len(vocabulary.pieces)
    seeing = replace(vocabulary, pieces=(*vocabulary.pieces, Piece("<image_soft_token>", 0.0, CONTROL)))
    assert len(trimmed(seeing, size + 1, folder).pieces) == size + 1
    assert trimmed(seeing, size, folder) == vocabulary
    with pytest.raises(UserError, match=f"{size + 1} pieces"):
        trimmed(seeing, size - 1, folder)


def test_a_file_without_a_vocabulary_has_none(build: Callable[..., Path]) -> None:
    assert read_vocabulary(Header(build({KEY + "model": "no_vocab"}, {}))) is None
    assert read_vocabulary(Header(build({}, {}))) is None


def broken(tree: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    changed = {**tree, key if key.startswith("tokenizer.chat") else KEY + key: value}
    return {name: item for name, item in changed.items() if item is not None}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model", "gpt2", "gpt2"),
        ("add_space_prefix", True, "adds a space"),
        ("scores", [0.5], "do not match"),
        ("scores", None, "scores is missing"),
        ("token_type", [0.5], "token_type"),
        ("tokens", [3], "tokens"),
        ("bos_token_id", 1 << 20, "bos_token_id"),
        ("eos_token_id", "x", "eos_token_id"),
        ("tokenizer.chat_template", 5, "chat_template"),
    ],
)
def test_a_damaged_vocabulary_is_named(
    build: Callable[..., Path], folder: Path, key: str, value: Any, said: str
) -> None:
    vocabulary = vocabulary_of(folder)
    assert vocabulary is not None
    with pytest.raises(UserError, match=said):
        read(build, broken(entries(vocabulary), key, value))


def test_a_piece_twice_is_refused(build: Callable[..., Path], folder: Path) -> None:
    vocabulary = vocabulary_of(folder)
    assert vocabulary is not None
    tree = entries(vocabulary)
    tree[KEY + "tokens"] = [*tree[KEY + "tokens"][:-1], tree[KEY + "tokens"][-2]]
    with pytest.raises(UserError, match=r"x\.gguf"):
        read(build, tree).tokenizer(Path("x.gguf"))
