"""A mixture keeps its shares at every moment, gives every part whole, and a cursor restores it exactly."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gemwright.data.batch import Batch
from gemwright.data.documents import Document
from gemwright.data.mixture import Mixture, unimax
from gemwright.data.pack import Cursor, Packer
from gemwright.data.tokens import TokenFile, tokenise

ROW = 16


class _Numbers:
    """Encodes "n start" as the ids start, start + 1, …: a token tells its part by its thousands."""

    bos, eos, vocab_size = 2, 1, 60_000

    def __init__(self, name: str = "numbers") -> None:
        self._name = name

    def encode(self, text: str) -> list[int]:
        count, start = map(int, text.split())
        return list(range(start, start + count))

    def fingerprint(self) -> str:
        return self._name


def _part(folder: Path, number: int, lengths: list[int], encoder: _Numbers | None = None) -> TokenFile:
    documents, start = [], 1000 * (number + 1)
    for length in lengths:
        text = f"{length} {start}"
        documents.append(Document(name=text, key=text, text=text))
        start += length
    return tokenise(documents, encoder or _Numbers(), folder / f"part-{number}")


@pytest.fixture
def parts(tmp_path: Path) -> list[TokenFile]:
    return [_part(tmp_path, 0, [3, 40, 15]), _part(tmp_path, 1, [5] * 30), _part(tmp_path, 2, [9, 1, 31, 2])]


def _taken(batch: Batch, parts: int) -> list[int]:
    """Tokens of each part; a row's inner tokens tell whose its end pieces are."""
    taken = [0] * parts
    for row in batch.targets.split([row.tokens for row in batch.rows]):
        (number,) = {token // 1000 - 1 for token in row.tolist() if token >= 1000}
        taken[number] += len(row)
    return taken


@given(st.lists(st.floats(0.01, 100), min_size=3, max_size=3), st.integers(1, 120))
def test_shares_are_kept_within_a_row_for_each_part_at_every_moment(
    tmp_path_factory: pytest.TempPathFactory, weights: list[float], rows: int
) -> None:
    folder = tmp_path_factory.mktemp("t")
    parts = [_part(folder, 0, [8, 40, 15]), _part(folder, 1, [5] * 30), _part(folder, 2, [9, 9, 31])]
    batch = Mixture(parts, weights, row=ROW, seed=0).take(rows)
    shares = [weight / sum(weights) for weight in weights]
    for taken, share in zip(_taken(batch, 3), shares, strict=True):
        assert abs(taken - share * batch.tokens) <= 3 * ROW


@given(st.integers(0, 40), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_a_cursor_restores_the_order_exactly(
    tmp_path_factory: pytest.TempPathFactory, before: int, steps: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("t")
    parts = [_part(folder, 0, [3, 40, 15]), _part(folder, 1, [5, 2])]
    mixture = Mixture(parts, [0.3, 0.7], row=ROW, seed=3)
    if before:
        mixture.take(before)
    other = Mixture(parts, [0.3, 0.7], row=ROW, seed=3)
    other.seek(Cursor.from_json(json.loads(json.dumps(mixture.cursor.to_json()))))
    for rows in steps:
        one, two = mixture.take(rows), other.take(rows)
        assert torch.equal(one.ids, two.ids) and torch.equal(one.targets, two.targets) and one.rows == two.rows
    assert mixture.cursor == other.cursor


def test_however_it_is_asked_for_the_stream_is_the_same(parts: list[TokenFile]) -> None:
    whole, pieces = (Mixture(parts, [1, 2, 3], row=ROW, seed=3) for _ in range(2))
    batch, others = whole.take(60), [pieces.take(rows) for rows in (1, 2, 3, 54)]
    assert torch.equal(batch.ids, torch.cat([other.ids for other in others]))
    assert batch.rows == tuple(row for other in others for row in other.rows)
    assert [row.serial for row in batch.rows] == list(range(60))


def test_a_part_is_seen_whole_before_it_begins_again(parts: list[TokenFile]) -> None:
    mixture = Mixture(parts, [1, 1, 1], row=ROW, seed=3)
    seen: Counter[int] = Counter()
    while all(part.epoch == 0 for part in mixture.cursor.parts):
        before = Counter(seen)
        seen.update(token for token in mixture.take(1).targets.tolist() if token >= 1000)
    done = [number for number, part in enumerate(mixture.cursor.parts) if part.epoch]
    for number in done:
        of_part = {token: count for token, count in before.items() if token // 1000 == number + 1}
        wanted = Counter(token for token in parts[number].ids.tolist() if token >= 1000)
        assert of_part == wanted


def test_once_gives_every_token_of_every_part_and_moves_no_cursor(parts: list[TokenFile]) -> None:
    mixture = Mixture(parts, [1, 2, 3], row=ROW, seed=3)
    before = mixture.cursor
    batches = list(mixture.once(4))
    assert Counter(token for batch in batches for token in batch.targets.tolist()) == Counter(
        token for part in parts for token in part.ids.tolist()
    )
    serials = [row.serial for batch in batches for row in batch.rows]
    assert serials == list(range(len(serials))) and mixture.cursor == before


def test_its_sizes_are_the_sums_of_its_parts(parts: list[TokenFile]) -> None:
    mixture, packers = Mixture(parts, [1, 2, 3], row=ROW, seed=3), [Packer(part, row=ROW, seed=0) for part in parts]
    assert mixture.pieces == sum(packer.pieces for packer in packers)
    assert mixture.split == sum(packer.split for packer in packers) == 2
    assert mixture.rows > 0


def test_equal_parts_come_in_orders_of_their_own(tmp_path: Path) -> None:
    same = [_part(tmp_path / str(number), 0, list(range(1, 16))) for number in range(2)]
    one, other = (
        [row.tolist() for row in batch.targets.split([row.tokens for row in batch.rows])]
        for batch in (Mixture(same, [1, weight], row=ROW, seed=3).take(12) for weight in (1e-9, 1e9))
    )
    assert one != other


def test_filler_fills_rows_and_counts_in_no_share(parts: list[TokenFile]) -> None:
    filled = Mixture(parts, [1, 2, 3], row=ROW, seed=3, filler=True).take(40)
    plain = Mixture(parts, [1, 2, 3], row=ROW, seed=3).take(40)
    assert {row.tokens for row in filled.rows} == {ROW}
    assert torch.equal(filled.targets[filled.weight > 0], plain.targets)


def test_a_cursor_of_other_data_or_weights_is_refused_and_moves_nothing(parts: list[TokenFile]) -> None:
    mixture = Mixture(parts, [1, 2, 3], row=ROW, seed=3)
    mixture.take(5)
    before = mixture.cursor
    for other in (Mixture(parts, [1, 2, 4], row=ROW, seed=3), Mixture(parts[:2], [1, 2], row=ROW, seed=3)):
        with pytest.raises(ValueError, match="the cursor reads"):
            mixture.seek(other.cursor)
    broken = dataclasses.replace(before.parts[2], row=99)
    with pytest.raises(ValueError, match="row 99"):
        mixture.seek(dataclasses.replace(before, parts=(*before.parts[:2], broken)))
    assert mixture.cursor == before


@pytest.mark.parametrize("weights", [[], [1, 2], [1, 2, 0], [1, 2, -1], [1, 2, float("nan")], [1, 2, float("inf")]])
def test_weights_must_be_one_positive_number_for_each_part(parts: list[TokenFile], weights: list[float]) -> None:
    with pytest.raises(ValueError, match="3 parts"):
        Mixture(parts, weights, row=ROW, seed=3)


def test_parts_of_two_tokenizers_are_no_mixture(tmp_path: Path) -> None:
    parts = [_part(tmp_path, 0, [3]), _part(tmp_path, 1, [3], _Numbers("others"))]
    with pytest.raises(ValueError, match="different tokenizers"):
        Mixture(parts, [1, 1], row=ROW, seed=3)


def _poured(sizes: list[int], budget: int, cap: float) -> list[float]:
    """Shares by brute force: the budget is poured out token by token, each to the part that has least so far and may
    have more."""
    has = [0] * len(sizes)
    for _ in range(budget):
        open_parts = [number for number, size in enumerate(sizes) if has[number] + 1 <= cap * size]
        has[min(open_parts, key=lambda number: has[number])] += 1
    return [count / budget for count in has]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(1, 4), st.floats(0.05, 1.0))
def test_unimax_is_what_pouring_gives(sizes: list[int], cap: int, part: float) -> None:
    budget = max(round(part * cap * sum(sizes)), 1)
    shares = unimax(sizes, budget, cap)
    assert shares == pytest.approx(_poured(sizes, budget, cap), abs=1.0001 / budget)
    assert sum(shares) == pytest.approx(1)
    assert all(share * budget <= cap * size * (1 + 1e-9) for share, size in zip(shares, sizes, strict=True))


def test_unimax_is_uniform_where_nothing_is_small() -> None:
    assert unimax([100, 5000, 900], 60, 1.0) == pytest.approx([1 / 3] * 3)
    assert unimax([10, 5000, 900], 100, 2.0) == pytest.approx([0.2, 0.4, 0.4])


@pytest.mark.parametrize(
    ("sizes", "budget", "cap"), [([], 1, 1), ([1], 0, 1), ([1], 1, 0), ([0, 1], 1, 1), ([5, 5], 21, 2)]
)
def test_a_budget_that_cannot_be_shared_is_refused(sizes: list[int], budget: float, cap: float) -> None:
    with pytest.raises(ValueError, match="budget"):
        unimax(sizes, budget, cap)
