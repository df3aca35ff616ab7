"""A store that is read: by row, whatever the batch, and never in place of another."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gemwright.data.batch import Batch
from gemwright.data.pack import Packer
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.text.tokenizer import Tokenizer
from gemwright.train.draw import Samples
from gemwright.train.store import Store
from gemwright.train.teach import teach
from gemwright.train.teacher import Teacher


@pytest.fixture
def teacher(tiny: Callable[[str], Decoder], tokenizer: Tokenizer) -> Teacher:
    return Teacher(name="tiny", model=tiny("gemma-3-1b"), vocab=tokenizer.vocab_size)


@pytest.fixture
def store(tmp_path: Path, teacher: Teacher, tokenizer: Tokenizer, make_rows: Callable[..., Packer]) -> Store:
    """Five rows, two in a file, 16 draws at each token."""
    numbers = {"row": 32, "rows": 5, "samples": 16, "seed": 3, "shard": 2}
    return Store(teach(teacher, make_rows(), tmp_path / "store", tokenizer=tokenizer, **numbers)[0].folder)


def equal(some: Samples, other: Samples) -> bool:
    return all(torch.equal(getattr(some, name), getattr(other, name)) for name in ("ids", "counts"))


def test_it_gives_what_the_teacher_draws(store: Store, teacher: Teacher, make_rows: Callable[..., Packer]) -> None:
    batch = make_rows().take(5)
    found, live = store.samples(batch), teacher.samples(batch, 16, 3)
    assert equal(found, live)
    assert (found.logprobs - live.logprobs).abs().max() < 0.01  # float16


def test_a_batch_may_begin_at_any_row(store: Store, make_rows: Callable[..., Packer]) -> None:
    stream = make_rows()
    parts = [stream.take(rows) for rows in (1, 3, 1)]
    counts = [int((store.samples(part).counts > 0).sum()) for part in parts]
    assert sum(counts) == int((store.samples(make_rows().take(5)).counts > 0).sum())


def test_rows_that_it_lacks_are_named(store: Store, make_rows: Callable[..., Packer]) -> None:
    stream = make_rows()
    stream.take(5)
    with pytest.raises(UserError, match="before row 5"):
        store.samples(stream.take(1))
    with pytest.raises(UserError, match=r"row 6: rows-00000003\.bin is not there"):
        store.samples(stream.take(1))


def test_damage_is_found_when_a_shard_is_first_read(store: Store, make_rows: Callable[..., Packer]) -> None:
    path = store.path(1)
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)
    stream = make_rows()
    store.samples(stream.take(2))
    with pytest.raises(UserError, match=r"rows-00000001\.bin is damaged"):
        store.samples(stream.take(1))


def test_rows_of_another_length_are_refused(store: Store, make_rows: Callable[..., Packer]) -> None:
    batch: Batch = make_rows(row=16).take(1)
    with pytest.raises(UserError, match="row 0 has"):
        store.samples(batch)


def test_tokens_without_draws_are_refused(
    tmp_path: Path, teacher: Teacher, tokenizer: Tokenizer, make_rows: Callable[..., Packer]
) -> None:
    numbers = {"row": 64, "rows": 1, "samples": 4, "seed": 3}
    store, _ = teach(teacher, make_rows(row=64, chat=True), tmp_path / "chat", tokenizer=tokenizer, **numbers)
    batch = make_rows(row=64, chat=True).take(1)
    with pytest.raises(UserError, match="no draws"):
        store.samples(replace(batch, weight=torch.ones_like(batch.weight)))


def test_what_differs_is_named(store: Store) -> None:
    with pytest.raises(UserError, match=r"the tokenizer was .* and is another"):
        store.check(tokenizer="another")
    assert store.check(seed=3, samples=16) is store


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no store"),
        ('{"format": 99}', "another version"),
        ('{"format": 1, "seed": 3}', "damaged"),
        ("[]", "version"),
    ],
)
def test_what_is_no_store_is_refused(text: str, said: str, store: Store) -> None:
    (store.folder / "store.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        Store(store.folder)


def test_a_folder_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no store"):
        Store(tmp_path)


def test_sizes_are_told_for_each_draw(store: Store) -> None:
    totals = store.totals()
    files = sum(path.stat().st_size for path in store.folder.glob("*.bin"))
    said = [json.loads(path.read_text()) for path in store.folder.glob("rows-*.json")]
    assert totals["bytes"] == files and totals["rows"] == 5
    assert totals["bytes_per_sample"] == files / (16 * sum(one["drawn"] for one in said)) < 6
