"""Training a vocabulary."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from gemwright.errors import UserError
from gemwright.text import sentencepiece_file, train
from gemwright.text.sentencepiece_file import BYTE, CONTROL, UNKNOWN, USER_DEFINED
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.train import train_tokenizer

SOURCES = [Path(inspect.getfile(module)) for module in (ast, inspect)]


def test_the_same_text_gives_the_same_files(tmp_path: Path):
    for name in ("one", "two"):
        train_tokenizer(SOURCES, 700, tmp_path / name)
    for file in ("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize("size", [500, 501, 1000, 4096])
def test_the_vocabulary_has_exactly_the_size_asked_for(tmp_path: Path, size: int):
    assert train_tokenizer(SOURCES, size, tmp_path).vocab_size == size
    assert Tokenizer.load(tmp_path).vocab_size == size
    assert Tokenizer.load(tmp_path, "model").vocab_size == size


def test_pieces_lie_where_the_family_has_them(small_folder: Path):
    pieces = sentencepiece_file.parse((small_folder / "tokenizer.model").read_bytes()).pieces
    assert [piece.text for piece in pieces[:5]] == ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    assert [piece.kind for piece in pieces[:5]] == [CONTROL, CONTROL, CONTROL, UNKNOWN, CONTROL]
    assert pieces[5].text == "<start_of_turn>"
    assert [piece.text for piece in pieces[7:10]] == ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
    assert pieces[10] == ("\n", 0.0, USER_DEFINED)
    assert sum(piece.kind == BYTE for piece in pieces) == 256


def test_digits_stand_alone(small: Tokenizer):
    assert [small.piece(token) for token in small.encode("1234")] == ["1", "2", "3", "4"]


def test_no_space_is_put_in_front_and_none_is_removed(small: Tokenizer):
    assert small.piece(small.encode("return")[0])[0] != "▁"
    for text in (" x", "x ", "  x  ", "\t x\n \n", ""):
        assert small.decode(small.encode(text)) == text


def test_text_is_not_normalised(small: Tokenizer):
    for text in ("ﬁ ① Å Å", "\u00a0\u2003\u200b", "e\u0301", "\r\n"):
        assert small.decode(small.encode(text)) == text


def test_gemma_2_vocabularies_have_no_image_marks(tmp_path: Path):
    train_tokenizer(SOURCES, 600, tmp_path, family="gemma2")
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.start_of_image is None
    assert tokenizer.supports_turns


def test_text_beyond_the_budget_is_thinned_evenly(tmp_path: Path):
    whole = train_tokenizer(SOURCES, 500, tmp_path / "whole")
    part = train_tokenizer(SOURCES, 500, tmp_path / "part", text_budget=whole.bytes_read // 4)
    assert whole.bytes_used == whole.bytes_read == part.bytes_read
    assert part.bytes_used == pytest.approx(whole.bytes_used / 4, rel=0.03)
    assert Tokenizer.load(tmp_path / "part").fingerprint() != Tokenizer.load(tmp_path / "whole").fingerprint()


def test_long_lines_are_cut_and_no_character_is_lost(tmp_path: Path):
    source = tmp_path / "text"
    text = ["漢字" * 3000, "word " * 2000, "", "    indented", "x" * 1000, "y" * 1001, "last"]
    source.write_text("\r\n".join(text), encoding="utf-8", newline="")
    lines = list(train._lines(source))
    assert max(map(len, lines)) <= train.LINE_CHARACTERS
    assert "".join(lines) == "".join(text)
    assert "    indented" in lines


@pytest.mark.parametrize(("size", "complaint"), [(100, "no room"), (50_000, "yield at most")])
def test_a_size_that_the_text_cannot_give_is_refused(tmp_path: Path, size: int, complaint: str):
    with pytest.raises(UserError, match=complaint) as caught:
        train_tokenizer(SOURCES[:1], size, tmp_path)
    assert caught.value.hint


def test_too_many_characters_for_the_size_are_refused(tmp_path: Path):
    source = tmp_path / "text"
    source.write_text("".join(map(chr, range(0x4E00, 0x5200))), encoding="utf-8")
    with pytest.raises(UserError, match="characters need"):
        train_tokenizer([source], 500, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"\n\n\n"])
def test_no_text_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(UserError, match="no text"):
        train_tokenizer([tmp_path / "text"], 500, tmp_path / "out")


def test_files_that_are_no_text_are_named(tmp_path: Path):
    (tmp_path / "picture").write_bytes(b"\x89PNG\r\n\xff\xfe" * 100)
    with pytest.raises(UserError, match="picture"):
        train_tokenizer([*SOURCES, tmp_path / "picture"], 500, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="nowhere"):
        train_tokenizer([tmp_path / "nowhere"], 500, tmp_path / "out")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        train_tokenizer(SOURCES[:1], 500, tmp_path / "file" / "out")


def test_a_tokenizer_is_replaced_only_when_asked_for(tmp_path: Path):
    train_tokenizer(SOURCES, 500, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=r"holds a tokenizer already \(tokenizer.model\)"):
        train_tokenizer(SOURCES, 600, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    train_tokenizer(SOURCES, 600, tmp_path, overwrite=True)
    assert Tokenizer.load(tmp_path, "json").vocab_size == Tokenizer.load(tmp_path, "model").vocab_size == 600
    assert {path.name for path in tmp_path.iterdir()} == set(before)


def test_one_file_of_a_tokenizer_is_one_already(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text("mine")
    with pytest.raises(UserError, match=r"already \(tokenizer.json\)"):
        train_tokenizer(SOURCES, 500, tmp_path)


def test_a_full_disk_leaves_the_older_tokenizer_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    train_tokenizer(SOURCES, 500, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        write(path, data[:10])
        if path.name == "tokenizer_config.json":
            raise OSError(28, "No space left on device")
        return 10

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space"):
        train_tokenizer(SOURCES, 600, tmp_path, overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
