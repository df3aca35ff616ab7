"""Every token is predicted once an epoch, from its own document only, in an order that a cursor restores."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gemwright.data.batch import Batch
from gemwright.data.documents import Document
from gemwright.data.pack import Cursor, Packer
from gemwright.data.tokens import TokenFile, tokenise

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
        packer.seek(Cursor(source=packer.source, epoch=1, row=0))
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
    other.seek(Cursor(**packer.cursor.to_json()))
    for rows in (1, 3, 9):
        assert torch.equal(packer.take(rows).ids, other.take(rows).ids)


def test_a_cursor_of_other_data_is_refused(tokens: TokenFile) -> None:
    packer = Packer(tokens, row=ROW, seed=0)
    with pytest.raises(ValueError, match="cursor reads"):
        packer.seek(Packer(tokens, row=ROW, seed=1).cursor)
    with pytest.raises(ValueError, match="row 99"):
        packer.seek(Cursor(source=packer.source, epoch=0, row=99))


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
