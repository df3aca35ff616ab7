"""Merges as scores: the ids of any text are the same, or the file is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gemwright.errors import UserError
from gemwright.text import sentencepiece_file
from gemwright.text.scores import scored_pieces
from gemwright.text.tokenizer import Tokenizer


def test_the_pieces_of_both_forms_encode_alike(small_folder: Path, tmp_path: Path) -> None:
    like = sentencepiece_file.parse((small_folder / "tokenizer.model").read_bytes())
    made = replace(like, pieces=scored_pieces(small_folder / "tokenizer.json"))
    assert [piece.text for piece in made.pieces] == [piece.text for piece in like.pieces]
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_file.serialize(made))
    text = Path(__file__).read_text("utf-8") + "Grüße 日本 \t\t\t" + " " * 50 + "\n" * 50
    ours, theirs = Tokenizer.load(tmp_path), Tokenizer.load(small_folder, prefer="json")
    assert ours.encode(text) == theirs.encode(text)


def test_kinds_are_those_of_the_sentencepiece_file(small_folder: Path) -> None:
    """Marks apart: the JSON calls every special piece the same."""
    like = sentencepiece_file.parse((small_folder / "tokenizer.model").read_bytes()).pieces
    for ours, theirs in zip(scored_pieces(small_folder / "tokenizer.json"), like, strict=True):
        if ours.kind != sentencepiece_file.CONTROL:
            assert ours.kind == theirs.kind, ours


def swap(merges: list[Any]) -> None:
    """A way to make a piece moves away from the others."""
    made = ["".join(pair) for pair in merges]
    at = next(at for at, piece in enumerate(made[:-1]) if piece == made[at + 1])
    merges.append(merges.pop(at))


def lose(merges: list[Any]) -> None:
    made = ["".join(pair) for pair in merges]
    del merges[next(at for at, piece in enumerate(made[:-1]) if piece == made[at + 1] and piece.isalpha())]


@pytest.mark.parametrize(("change", "said"), [(swap, "stand apart"), (lose, "ways")])
def test_merges_that_scores_cannot_say_are_refused(
    small_folder: Path, tmp_path: Path, change: Callable[[list[Any]], None], said: str
) -> None:
    path = Path(shutil.copy(small_folder / "tokenizer.json", tmp_path))
    tree = json.loads(path.read_text("utf-8"))
    tree["model"]["merges"] = [pair for pair in tree["model"]["merges"] if "".join(pair).strip("▁\n\t")]
    change(tree["model"]["merges"])
    path.write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(UserError, match=said):
        scored_pieces(path)
