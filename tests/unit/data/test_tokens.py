"""A file of tokens appears whole or not at all, and a damaged one is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gemwright.data.documents import Document
from gemwright.data.tokens import TokenFile, tokenise
from gemwright.errors import UserError
from gemwright.text.tokenizer import Tokenizer

TEXTS = ("the hen", "", "and änd", "in")


def _documents(texts: tuple[str, ...] = TEXTS) -> list[Document]:
    return [Document(name=str(number), key=str(number), text=text) for number, text in enumerate(texts)]


def test_documents_come_back_with_their_end_piece_and_bytes(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokens = tokenise(_documents(), tokenizer, tmp_path / "tokens")
    found = [tokens.ids[a:b].tolist() for a, b in zip(tokens.starts, tokens.starts[1:], strict=False)]
    assert found == [[*tokenizer.encode(text), tokenizer.eos] for text in TEXTS if text]
    assert tokens.byte_starts.tolist() == [0, 7, 7 + 8, 7 + 8 + 2]
    assert (tokens.meta.documents, tokens.meta.empty, tokens.meta.bytes) == (3, 1, 17)
    texts = [text.encode() for document in _documents() for text in (document.name, document.text)]
    framed = b"".join(len(text).to_bytes(8, "big") + text for text in texts)
    assert tokens.meta.digest == hashlib.sha256(framed).hexdigest() and tokens.meta.dtype == "uint16"


def test_a_large_vocabulary_is_stored_in_four_bytes(tmp_path: Path) -> None:
    class Large:
        bos, eos, vocab_size = 2, 1, 70_000

        def encode(self, text: str) -> list[int]:
            return [69_999] * len(text)

        def fingerprint(self) -> str:
            return "large"

    tokens = tokenise(_documents(("xy",)), Large(), tmp_path / "tokens")
    assert tokens.ids.tolist() == [69_999, 69_999, 1]


def test_texts_without_a_token_are_refused_and_leave_nothing(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="nothing to train on"):
        tokenise(_documents(("", "")), tokenizer, tmp_path / "tokens")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_tokens_that_were_there(tmp_path: Path, tokenizer: Tokenizer) -> None:
    before = tokenise(_documents(), tokenizer, tmp_path / "tokens").fingerprint()
    with pytest.raises(UserError):
        tokenise(_documents(("",)), tokenizer, tmp_path / "tokens")
    assert TokenFile(tmp_path / "tokens").fingerprint() == before


@pytest.mark.parametrize("name", ["tokens.bin", "index.npy", "meta.json"])
@pytest.mark.parametrize("size", [None, 3, 10])
def test_a_damaged_folder_is_refused(tmp_path: Path, tokenizer: Tokenizer, name: str, size: int | None) -> None:
    tokenise(_documents(), tokenizer, tmp_path / "tokens")
    path = tmp_path / "tokens" / name
    if size is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="tokens"):
        TokenFile(tmp_path / "tokens")


def test_the_fingerprint_changes_with_the_texts(tmp_path: Path, tokenizer: Tokenizer) -> None:
    one = tokenise(_documents(), tokenizer, tmp_path / "one").fingerprint()
    assert one == tokenise(_documents(), tokenizer, tmp_path / "same").fingerprint()
    assert one != tokenise(_documents(("the hem",)), tokenizer, tmp_path / "other").fingerprint()
