"""Every token is predicted once an epoch, from its own document only, in an order that a cursor restores."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy
import paint
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gemwright.data.batch import Batch
from gemwright.data.cut import cut
from gemwright.data.documents import Conversation, Document
from gemwright.data.pack import Cursor, Packer
from gemwright.data.tokens import TokenFile, tokenise
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import Message, render

BOS, EOS, ROW = 2, 1, 16


class _Numbers:
    """Encodes "n start" as the ids start, start + 1, … so that every token of a test is unique."""

    bos, eos, vocab_size = BOS, EOS, 60_000

    def encode(self, text: str) -> list[int]:
        count, start = map(int, text.split())
        return list(range(start, start + count))

    def fingerprint(self) -> str:
        return "numbers"


def _tokens(folder: Path, lengths: list[int]) -> TokenFile:
    starts = 10 + numpy.cumsum([0, *lengths])
    texts = [f"{length} {start}" for length, start in zip(lengths, starts, strict=False)]
    return tokenise((Document(name=text, key=text, text=text) for text in texts), _Numbers(), folder / "tokens")


LENGTHS = [3, 40, 15, 16, 1, 7, 31, 9, 2, 5]


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return _tokens(tmp_path, LENGTHS)


def _pieces(batch: Batch) -> list[tuple[list[int], list[int], list[float]]]:
    lengths = list(batch.span.plan.lengths)
    return [
        (ids.tolist(), targets.tolist(), weight.tolist())
        for ids, targets, weight in zip(
            batch.ids.split(lengths), batch.targets.split(lengths), batch.weight.split(lengths), strict=True
        )
    ]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(2, 20), st.integers(0, 2**64 - 1))
def test_an_epoch_predicts_every_token_once(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], row: int, seed: int
) -> None:
    tokens = _tokens(tmp_path_factory.mktemp("t"), lengths)
    packer = Packer(tokens, row=row, seed=seed)
    batches = [packer.take(1) for _ in range(packer.rows)]
    assert packer.cursor.epoch == 0 and max(batch.tokens for batch in batches) <= row
    seen = Counter(target for batch in batches for target in batch.targets.tolist())
    assert seen == Counter(tokens.ids.tolist())


def test_each_piece_begins_with_the_begin_piece_and_predicts_its_successors(tokens: TokenFile) -> None:
    for ids, targets, weight in _pieces(Packer(tokens, row=ROW, seed=0).take(8)):
        assert ids[0] == BOS and ids[1:] == targets[:-1] and set(weight) == {1.0}
        inner = targets[:-1] if targets[-1] == EOS else targets
        assert inner == [inner[0] + step for step in range(len(inner))]  # of one document, in order


def test_positions_restart_with_every_piece(tokens: TokenFile) -> None:
    batch = Packer(tokens, row=ROW, seed=0).take(4)
    assert torch.equal(batch.span.tensors.position == 0, batch.ids == BOS)


def test_documents_longer_than_a_row_are_counted(tokens: TokenFile) -> None:
    packer = Packer(tokens, row=ROW, seed=0)
    assert packer.split == 3  # 40, 31 and 16, each and its end piece
    assert packer.pieces == 7 + 3 + 2 + 2


def test_filler_makes_rows_equal_and_weighs_nothing(tokens: TokenFile) -> None:
    plain, filled = Packer(tokens, row=ROW, seed=0), Packer(tokens, row=ROW, seed=0, filler=True)
    for _ in range(plain.rows):
        one, other = plain.take(1), filled.take(1)
        assert other.tokens == ROW
        assert torch.equal(other.ids[other.weight > 0], one.ids)
        assert torch.equal(other.targets[other.weight > 0], one.targets)
        assert other.count == one.count == one.tokens


def test_epochs_differ_and_seeds_differ_but_a_seed_repeats(tokens: TokenFile) -> None:
    def epochs(seed: int) -> tuple[list[int], list[int]]:
        packer = Packer(tokens, row=ROW, seed=seed)
        first = packer.take(packer.rows).targets.tolist()
        packer.take(1)
        assert packer.cursor.epoch == 1
        packer.seek(Cursor(source=packer.source, epoch=1, row=0, serial=5, tokens=70, parts=()))
        return first, packer.take(packer.rows).targets.tolist()

    assert epochs(1) == epochs(1)
    assert epochs(1)[0] != epochs(2)[0] and epochs(1)[0] != epochs(1)[1]


@given(st.integers(0, 40))
def test_a_cursor_restores_the_order_exactly(tmp_path_factory: pytest.TempPathFactory, before: int) -> None:
    tokens = _tokens(tmp_path_factory.mktemp("t"), LENGTHS)
    packer = Packer(tokens, row=ROW, seed=3)
    for _ in range(before):
        packer.take(1)
    other = Packer(tokens, row=ROW, seed=3)
    other.seek(Cursor.from_json(json.loads(json.dumps(packer.cursor.to_json()))))
    for rows in (1, 3, 9):
        one, two = packer.take(rows), other.take(rows)
        assert torch.equal(one.ids, two.ids) and torch.equal(one.targets, two.targets) and one.rows == two.rows
    assert packer.cursor == other.cursor


def test_a_cursor_of_other_data_is_refused(tokens: TokenFile) -> None:
    packer = Packer(tokens, row=ROW, seed=0)
    with pytest.raises(ValueError, match="cursor reads"):
        packer.seek(Packer(tokens, row=ROW, seed=1).cursor)
    with pytest.raises(ValueError, match="row 99"):
        packer.seek(Cursor(source=packer.source, epoch=0, row=99, serial=99, tokens=0, parts=()))


def test_once_gives_every_piece_and_moves_no_cursor(tokens: TokenFile) -> None:
    packer = Packer(tokens, row=ROW, seed=0)
    before = packer.cursor
    seen = [target for batch in packer.once(3) for target in batch.targets.tolist()]
    assert Counter(seen) == Counter(tokens.ids.tolist()) and packer.cursor == before


def test_rows_are_well_filled(tmp_path: Path) -> None:
    lengths = numpy.random.default_rng(0).integers(1, 60, size=600).tolist()
    tokens = _tokens(tmp_path, lengths)
    packer = Packer(tokens, row=64, seed=0)
    assert tokens.meta.tokens / (64 * packer.rows) > 0.9


def test_rows_are_numbered_through_all_epochs_and_make_up_the_batch(tokens: TokenFile) -> None:
    packer = Packer(tokens, row=ROW, seed=0)
    count = 2 * packer.rows + 3
    whole = packer.take(count)
    assert [row.serial for row in whole.rows] == list(range(count)) and packer.cursor.epoch > 0
    again = Packer(tokens, row=ROW, seed=0)
    parts = [again.take(rows) for rows in (1, 2, len(whole.rows) - 3)]
    assert tuple(row for part in parts for row in part.rows) == whole.rows
    for part in (whole, *parts):
        assert sum(row.tokens for row in part.rows) == part.tokens and max(row.tokens for row in part.rows) <= ROW
    assert packer.cursor.tokens == whole.tokens


def test_once_numbers_its_rows_from_the_first(tokens: TokenFile) -> None:
    packer = Packer(tokens, row=ROW, seed=0)
    packer.take(3)
    serials = [row.serial for batch in packer.once(2) for row in batch.rows]
    assert serials == list(range(len(serials)))


def test_a_refused_cursor_moves_nothing(tokens: TokenFile) -> None:
    packer = Packer(tokens, row=ROW, seed=0)
    packer.take(2)
    before = packer.cursor
    with pytest.raises(ValueError, match="row 99"):
        packer.seek(dataclasses.replace(before, epoch=1, row=99))
    assert packer.cursor == before


def test_a_cursor_of_another_version_is_refused(tokens: TokenFile) -> None:
    values = Packer(tokens, row=ROW, seed=0).cursor.to_json()
    del values["serial"]
    with pytest.raises(ValueError, match="other fields"):
        Cursor.from_json(values)


@given(st.lists(st.text("ain ", min_size=1, max_size=30), min_size=2, max_size=9), st.integers(2, 40))
def test_a_token_weighs_as_its_document_says_wherever_it_is_packed(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer, texts: list[str], row: int
) -> None:
    chats = [
        Conversation(name="c", key="c", messages=(Message("user", text), Message("model", "x" + text)))
        for text in texts[1:]
    ]
    document = Document(name="d", key="d", text=texts[0])
    tokens = tokenise([document, *chats], tokenizer, tmp_path_factory.mktemp("t") / "tokens")
    assert tokens.loss is not None
    wanted: Counter[tuple[int, float]] = Counter()
    for start, end in zip(tokens.starts.tolist(), tokens.starts.tolist()[1:], strict=False):
        for first in range(start, end, row):
            piece = slice(first, min(first + row, end))
            if tokens.loss[piece].any():
                wanted.update(zip(tokens.ids[piece].tolist(), tokens.loss[piece].tolist(), strict=True))
    for filler in (False, True):
        batch = Packer(tokens, row=row, seed=1, filler=filler).take(Packer(tokens, row=row, seed=1).rows)
        found = Counter(zip(batch.targets.tolist(), batch.weight.tolist(), strict=True))
        found[(tokenizer.bos, 0.0)] = 0  # filler: no document predicts a begin piece
        assert +found == wanted
        assert batch.count == tokens.meta.targets


def test_a_conversations_answer_is_weighed_in_its_own_place(tmp_path: Path, tokenizer: Tokenizer) -> None:
    chat = Conversation(name="c", key="c", messages=(Message("user", "hi"), Message("model", "the hen")))
    tokens = tokenise([chat], tokenizer, tmp_path / "tokens")
    batch = Packer(tokens, row=64, seed=0).take(1)
    rendered = render(chat.messages, tokenizer, add_generation_prompt=False)
    assert batch.ids.tolist() == rendered.ids[:-2] and batch.targets.tolist() == rendered.ids[1:-1]
    assert batch.weight.tolist() == [float(one) for one in rendered.loss[1:-1]]


def test_pieces_in_which_nothing_is_learnt_are_left_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    messages = (Message("user", "x " * 100), Message("model", "in"))
    tokens = tokenise([Conversation(name="c", key="c", messages=messages)], tokenizer, tmp_path / "tokens")
    packer = Packer(tokens, row=32, seed=0)
    assert tokens.meta.tokens > 200 and packer.pieces == packer.rows == packer.split == 1
    assert packer.take(1).count == tokens.meta.targets


# ----------------------------------------------------------------------------------------------------------------------
# Pictures


SOFT = 6


def _seen(tmp_path: Path, tokenizer: Tokenizer) -> TokenFile:
    """Texts among conversations of several lengths, with pictures here and there."""
    chats: list[Document | Conversation] = [Document(name="d", key="d", text="the hen and the otter in the inn")]
    for number in range(8):
        shown = [paint.shown(each) for each in (number, number + 1)]
        chats.append(paint.chat(("the hen " * number, shown[: number % 3]), ("an inn", [])))
        chats.append(paint.chat(("and", shown[:1]), ("on the den " * 3, []), ("in", shown), ("the ring", [])))
    return tokenise(chats, tokenizer, tmp_path / "seen", picture_tokens=SOFT)


@pytest.mark.parametrize("row", [24, 30, 64, 500])
def test_a_picture_is_never_cut_and_stands_where_its_marks_say(tmp_path: Path, tokenizer: Tokenizer, row: int) -> None:
    tokens = _seen(tmp_path, tokenizer)
    packer = Packer(tokens, row=row, seed=1, filler=True)
    batch = packer.take(packer.rows)
    assert batch.pictures and len(batch.pictures) == len(batch.span.plan.images)
    starts = batch.span.plan.starts
    for document, first, count in batch.span.plan.images:
        at = starts[document] + first
        assert count == SOFT and first + count <= batch.span.plan.lengths[document]
        assert batch.ids[at - 1] == tokenizer.start_of_image
        assert batch.targets[at + count - 1] == tokenizer.end_of_image
        assert not batch.weight[at - 1 : at + count].any()
    assert max(packed.tokens for packed in batch.rows) <= row
    assert batch.count == tokens.meta.targets


@pytest.mark.parametrize("row", [24, 30, 64, 500])
def test_every_picture_that_something_learnt_sees_comes_once_an_epoch(
    tmp_path: Path, tokenizer: Tokenizer, row: int
) -> None:
    tokens = _seen(tmp_path, tokenizer)
    assert tokens.loss is not None
    wanted: Counter[str] = Counter()
    for start, length in cut(tokens, row).tolist():
        inside = (tokens.places[:, 0] >= start) & (tokens.places[:, 0] < start + length)
        wanted.update(tokens.shown[number].sha256 for number in tokens.places[inside, 1].tolist())
    packer = Packer(tokens, row=row, seed=1)
    found = Counter(shown.sha256 for batch in (packer.take(1) for _ in range(packer.rows)) for shown in batch.pictures)
    assert found == wanted and (row < 500 or found.total() == tokens.meta.pictures)


def test_rows_hold_every_learnt_token_once_with_pictures_too(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokens = _seen(tmp_path, tokenizer)
    assert tokens.loss is not None
    packer = Packer(tokens, row=24, seed=1)
    batch = packer.take(packer.rows)
    found = Counter(batch.targets[batch.weight > 0].tolist())
    assert found == Counter(tokens.ids[tokens.loss > 0].tolist())


def test_a_piece_ends_before_a_picture_that_it_would_cut(tmp_path: Path, tokenizer: Tokenizer) -> None:
    chat = paint.chat(("x" * 9, []), ("the", []), ("", [paint.shown(1)]), ("in", []))
    tokens = tokenise([chat], tokenizer, tmp_path / "seen", picture_tokens=SOFT)
    place = int(tokens.places[0, 0])
    pieces = cut(tokens, place + 3)
    assert pieces[0].tolist() == [0, place - 1] and pieces[1, 0] == place - 1


def test_a_row_that_holds_no_picture_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="do not fit a row of 7"):
        Packer(_seen(tmp_path, tokenizer), row=SOFT + 1, seed=1)


def test_texts_come_in_the_same_rows_whoever_stands_beside_them(tmp_path: Path, tokenizer: Tokenizer) -> None:
    batch = Packer(tokenise([Document(name="d", key="d", text="the hen")], tokenizer, tmp_path / "t"), row=9, seed=0)
    assert batch.take(1).pictures == () and batch.take(1).span.plan.images == () and batch.take(1).soft is None
