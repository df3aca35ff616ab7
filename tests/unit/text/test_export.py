"""The exported folder, read by the libraries that will read it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from gemwright.text.export import merges
from gemwright.text.sentencepiece_file import BYTE, CONTROL, NORMAL, USER_DEFINED, Piece
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.train import train_tokenizer

PARTS = st.sampled_from(
    ["    ", " " * 45, "\n" * 7, "\t\t\t\t\t", "\r\n", "def ", "self.", "=1_000", "▁▁", "<0x0A>", "é"]
)
TEXTS = st.lists(st.text(max_size=10) | PARTS, max_size=8).map("".join)


@pytest.fixture(scope="module", params=[AutoTokenizer, PreTrainedTokenizerFast], ids=["auto", "fast"])
def theirs(request: pytest.FixtureRequest, small_folder: Path) -> Any:
    """The folder as transformers reads it: by the class its config names, and from tokenizer.json as it stands."""
    return request.param.from_pretrained(small_folder)


@given(text=TEXTS)
def test_transformers_gives_the_same_ids(small_model: Tokenizer, theirs: Any, text: str):
    assert theirs.encode(text) == small_model.encode(text, bos=True, special=True)


def test_transformers_gives_the_same_ids_for_code(small_model: Tokenizer, small_json: Tokenizer, theirs: Any):
    code = Path(random.__file__).read_text(encoding="utf-8")
    assert theirs.encode(code, add_special_tokens=False) == small_model.encode(code) == small_json.encode(code)
    assert theirs.decode(small_model.encode(code)) == code


def test_transformers_knows_the_marks(small_model: Tokenizer, theirs: Any):
    text = "a<start_of_turn>b<end_of_turn>\n"
    assert theirs.encode(text) == small_model.encode(text, bos=True, special=True)
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id, theirs.unk_token_id) == (2, 1, 0, 3)
    assert theirs.decode(theirs.encode(text), skip_special_tokens=True) == "ab\n"


def test_the_tokenizers_library_adds_one_bos(small_folder: Path, small_json: Tokenizer):
    library = tokenizers.Tokenizer.from_file(str(small_folder / "tokenizer.json"))
    assert library.encode("x y").ids == small_json.encode("x y", bos=True)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_merge_order_holds_where_pieces_overlap(tmp_path: Path, seed: int):
    """Two letters only: every piece can be built in many ways, and neighbours compete for every letter."""
    chance = random.Random(seed)
    letters = "ab" if seed == 0 else "aab "
    lines = ["".join(chance.choices(letters, k=chance.randrange(5, 60))) for _ in range(2000)]
    (tmp_path / "text").write_text("\n".join(lines))
    train_tokenizer([tmp_path / "text"], 550, tmp_path)
    from_json, from_model = Tokenizer.load(tmp_path, "json"), Tokenizer.load(tmp_path, "model")
    for _ in range(1000):
        text = "".join(chance.choices(letters, k=chance.randrange(1, 60)))
        assert from_json.encode(text) == from_model.encode(text), text


def test_every_way_to_build_a_piece_is_a_merge_best_score_first():
    vocabulary = [
        Piece("<eos>", 0.0, CONTROL),
        Piece("<m>", 0.0, USER_DEFINED),
        Piece("\n", 0.0, USER_DEFINED),
        Piece("\n\n", 0.0, USER_DEFINED),
        Piece("<0x41>", 0.0, BYTE),
        *(Piece(text, -float(rank), NORMAL) for rank, text in enumerate(["ab", "bc", "abc", "a", "b", "c", "<", "m>"])),
    ]
    assert merges(vocabulary) == [("\n", "\n"), ("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")]
