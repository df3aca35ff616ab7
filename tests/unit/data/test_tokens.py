"""A file of tokens appears whole or not at all, and a damaged one is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy
import paint
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemwright.data.documents import Conversation, Document
from gemwright.data.tokens import FORMAT, TokenFile, Writer, tokenise
from gemwright.errors import UserError
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import Message

TEXTS = ("the hen", "", "and änd", "in")


def _documents(texts: tuple[str, ...] = TEXTS) -> list[Document]:
    return [Document(name=str(number), key=str(number), text=text) for number, text in enumerate(texts)]


def _chat(*texts: str) -> Conversation:
    """Texts of user and model in turn."""
    messages = tuple(Message(("user", "model")[at % 2], text) for at, text in enumerate(texts))
    return Conversation(name="chat", key="chat", messages=messages)


def test_documents_come_back_with_their_end_piece_and_bytes(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokens = tokenise(_documents(), tokenizer, tmp_path / "tokens")
    found = [tokens.ids[a:b].tolist() for a, b in zip(tokens.starts, tokens.starts[1:], strict=False)]
    assert found == [[*tokenizer.encode(text), tokenizer.eos] for text in TEXTS if text]
    assert tokens.byte_starts.tolist() == [0, 7, 7 + 8, 7 + 8 + 2]
    assert (tokens.meta.documents, tokens.meta.dropped, tokens.meta.bytes) == (3, {"empty": 1}, 17)
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


@pytest.mark.parametrize("name", ["tokens.bin", "loss.bin", "index.npy", "meta.json"])
@pytest.mark.parametrize("size", [None, 3, 10])
def test_a_damaged_folder_is_refused(tmp_path: Path, tokenizer: Tokenizer, name: str, size: int | None) -> None:
    tokenise([*_documents(), _chat("hi", "ho")], tokenizer, tmp_path / "tokens")
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


def _answers(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    """What stands between the header of each model's turn and its end mark, that mark included: read off the ids."""
    header = [tokenizer.start_of_turn, *tokenizer.encode("model\n")]
    wanted = [0] * len(ids)
    for at in range(len(ids)):
        if ids[at : at + len(header)] == header:
            first = at + len(header)
            last = ids.index(tokenizer.end_of_turn or -1, first)
            wanted[first : last + 1] = [1] * (last + 1 - first)
    return wanted


@given(st.lists(st.text("aintx \n<>", max_size=12), min_size=2, max_size=6), st.booleans())
def test_a_conversation_is_learnt_on_the_models_turns_only(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer, texts: list[str], system: bool
) -> None:
    texts[1] += "x"  # one answer that is not empty
    chat = _chat(*texts)
    if system:
        messages = (Message("system", "be kind"), *chat.messages)
        chat = Conversation(name=chat.name, key=chat.key, messages=messages)
    tokens = tokenise([chat], tokenizer, tmp_path_factory.mktemp("t") / "tokens")
    assert tokens.loss is not None
    ids, loss = tokens.ids.tolist(), tokens.loss.tolist()
    assert loss == _answers(ids, tokenizer) and loss[-1] == 1
    answers = [text.strip() for text in texts[1::2]]
    learnt = tokenizer.decode([id for id, one in zip(ids, loss, strict=True) if one])
    assert learnt == "".join(answers)
    assert (tokens.meta.targets, tokens.meta.bytes) == (sum(loss), len(learnt.encode()))
    assert (tokens.meta.documents, tokens.meta.conversations) == (1, 1)


def test_all_that_comes_before_the_last_answers_end_is_stored(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokens = tokenise([_chat("the hen", "an inn", "and")], tokenizer, tmp_path / "tokens")
    text = "<start_of_turn>user\nthe hen<end_of_turn>\n<start_of_turn>model\nan inn<end_of_turn>"
    assert tokens.ids.tolist() == tokenizer.encode(text, special=True)


def test_texts_among_conversations_are_learnt_whole(tmp_path: Path, tokenizer: Tokenizer) -> None:
    first, last = _documents(("the hen", "in"))
    tokens = tokenise([first, _chat("hi", "ho"), last], tokenizer, tmp_path / "tokens")
    assert tokens.loss is not None and tokens.meta.weighted
    whole = [bool(tokens.loss[a:b].all()) for a, b in zip(tokens.starts, tokens.starts[1:], strict=False)]
    assert whole == [True, False, True]
    assert tokens.byte_starts.tolist() == [0, 7, 7 + 2, 7 + 2 + 2]


def test_there_is_no_mask_where_everything_is_learnt(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokens = tokenise(_documents(), tokenizer, tmp_path / "tokens")
    assert tokens.loss is None and not (tmp_path / "tokens" / "loss.bin").exists()
    assert tokens.meta.targets == tokens.meta.tokens


@pytest.mark.parametrize("texts", [("hi",), ("hi", " \n")])
def test_a_conversation_without_an_answer_is_dropped_and_counted(
    tmp_path: Path, tokenizer: Tokenizer, texts: tuple[str, ...]
) -> None:
    with Writer(tokenizer, tmp_path / "tokens") as writer:
        writer.add(_chat(*texts))
        writer.add(_chat("hi", "ho"))
        tokens = writer.finish()
    assert tokens.meta.dropped == {"no answer": 1} and tokens.meta.documents == 1
    assert writer.report.examples == {"no answer": ["chat"]}


def test_a_conversation_needs_turn_marks(tmp_path: Path) -> None:
    class Bare:
        bos, eos, vocab_size = 2, 1, 10

        def encode(self, text: str) -> list[int]:
            return [3]

        def fingerprint(self) -> str:
            return "bare"

    with pytest.raises(ValueError, match="Bare has no turn marks"):
        tokenise([_chat("hi", "ho")], Bare(), tmp_path / "tokens")
    assert list(tmp_path.iterdir()) == []


def test_the_fingerprint_changes_with_who_said_it(tmp_path: Path, tokenizer: Tokenizer) -> None:
    one = tokenise([_chat("hi", "ho", "hi")], tokenizer, tmp_path / "one").fingerprint()
    assert one != tokenise([_chat("hi", "ho")], tokenizer, tmp_path / "other").fingerprint()


def test_a_folder_of_an_earlier_format_is_refused_as_such(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokenise(_documents(), tokenizer, tmp_path / "tokens")
    path = tmp_path / "tokens" / "meta.json"
    meta = json.loads(path.read_text())
    assert meta.pop("format") == FORMAT
    path.write_text(json.dumps(meta))
    with pytest.raises(UserError, match=f"format 1; this one reads {FORMAT}"):
        TokenFile(tmp_path / "tokens")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with (
        pytest.raises(UserError, match=r"cannot write .*tokens: No space left"),
        Writer(tokenizer, tmp_path / "tokens") as writer,
        open("/dev/full", "wb", buffering=0) as full,
    ):
        writer._ids = full
        writer.add(_documents()[0])
    assert list(tmp_path.iterdir()) == []


def test_one_document_is_held_at_a_time(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with Writer(tokenizer, tmp_path / "tokens") as writer:
        written = [0]
        for document in _documents(("the hen and the otter " * 1000,) * 5):
            writer.add(document)
            written.append(sum(path.stat().st_size for path in tmp_path.rglob("*.bin")))
        writer.finish()
    # A file's own buffer may hold the tail, never a whole document.
    assert all(numpy.diff(written) > 0)


# ----------------------------------------------------------------------------------------------------------------------
# Pictures


def test_pictures_are_kept_by_place_and_fingerprint_once_each(tmp_path: Path, tokenizer: Tokenizer) -> None:
    one, two, inline = paint.shown(1, tmp_path), paint.shown(2, tmp_path), paint.shown(3)
    chats = [paint.chat(("the", [one, two]), ("in", [])), paint.chat(("an", [inline, one]), ("on", []))]
    tokens = tokenise([*_documents(), *chats], tokenizer, tmp_path / "tokens", picture_tokens=5)
    assert (tokens.meta.pictures, tokens.meta.picture_tokens) == (4, 5)
    assert [shown.sha256 for shown in tokens.shown] == [one.sha256, two.sha256, inline.sha256]
    assert tokens.places[:, 1].tolist() == [0, 1, 2, 0]
    for place in tokens.places[:, 0].tolist():
        assert tokens.ids[place - 1] == tokenizer.start_of_image and tokens.ids[place + 5] == tokenizer.end_of_image
    assert tokens.loss is not None
    assert not any(tokens.loss[place - 1 : place + 6].any() for place in tokens.places[:, 0].tolist())


def test_a_picture_that_a_record_held_lies_in_the_folder_of_tokens(tmp_path: Path, tokenizer: Tokenizer) -> None:
    chat = paint.chat(("the", [paint.shown(3), paint.shown(1, tmp_path)]), ("in", []))
    tokenise([chat], tokenizer, tmp_path / "tokens", picture_tokens=5)
    (tmp_path / "tokens").rename(tmp_path / "moved")
    moved = TokenFile(tmp_path / "moved")
    assert [shown.open().sha256 for shown in moved.shown] == [paint.shown(3).sha256, paint.shown(1).sha256]


def test_a_picture_after_the_last_answer_is_not_stored(tmp_path: Path, tokenizer: Tokenizer) -> None:
    chat = paint.chat(("the", []), ("in", []), ("and", [paint.shown(1)]))
    assert tokenise([chat], tokenizer, tmp_path / "tokens", picture_tokens=5).meta.pictures == 0


def test_texts_have_the_same_files_and_fingerprint_whatever_the_model_sees(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    blind = tokenise([*_documents(), _chat("hi", "ho")], tokenizer, tmp_path / "blind")
    sees = tokenise([*_documents(), _chat("hi", "ho")], tokenizer, tmp_path / "sees", picture_tokens=5)
    assert blind.fingerprint() == sees.fingerprint()
    assert "pictures" not in json.loads((tmp_path / "sees" / "meta.json").read_text())
    assert sorted(path.name for path in sees.folder.iterdir()) == sorted(path.name for path in blind.folder.iterdir())


@pytest.mark.parametrize("name", ["pictures.npy", "shown.jsonl"])
def test_a_folder_whose_pictures_are_damaged_is_refused(tmp_path: Path, tokenizer: Tokenizer, name: str) -> None:
    chat = paint.chat(("the", [paint.shown(3), paint.shown(1)]), ("in", []))
    path = tokenise([chat], tokenizer, tmp_path / "tokens", picture_tokens=5).folder / name
    for damaged in (path.read_bytes()[:-2], path.read_bytes()[:100], b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="tokens"):
            TokenFile(tmp_path / "tokens")


def test_a_picture_that_nobody_looks_at_is_a_mistake(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="chat shows a picture"):
        tokenise([paint.chat(("the", [paint.shown(1)]), ("in", []))], tokenizer, tmp_path / "tokens")


def test_nothing_of_a_picture_is_learnt(tmp_path: Path, tokenizer: Tokenizer) -> None:
    shown = [paint.shown(1), paint.shown(2)]
    chats = [
        paint.chat(("the<start_of_image>hen<start_of_image>", shown if seen else []), ("in", [])) for seen in (0, 1)
    ]
    blind, sees = (tokenise([chat], tokenizer, tmp_path / "tokens", picture_tokens=5) for chat in chats)
    assert blind.loss is not None and sees.loss is not None
    assert sees.ids[sees.loss > 0].tolist() == blind.ids[blind.loss > 0].tolist()
    around = len(tokenizer.encode("\n\n")) + 1
    for place in sees.places[:, 0].tolist():
        assert not sees.loss[place - around : place + 5 + around].any()
