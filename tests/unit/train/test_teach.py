"""Filling a store: completed, mended and extended, each time to the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemwright.data.pack import Packer
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.text.tokenizer import Tokenizer
from gemwright.train.store import Store
from gemwright.train.teach import teach
from gemwright.train.teacher import Teacher

ROWS = 7


@pytest.fixture
def fill(
    tmp_path: Path, tiny: Callable[[str], Decoder], tokenizer: Tokenizer, make_rows: Callable[..., Packer]
) -> Callable[..., tuple[Store, bool]]:
    """`fill("name", rows=7)`: a store of 16 draws, three rows in a file."""

    def fill(name: str = "store", row: int = 32, chat: bool = False, model: str = "gemma-3-1b", **changes: Any):
        teacher = Teacher(name=model, model=tiny(model), vocab=tokenizer.vocab_size)
        numbers = {"rows": ROWS, "samples": 16, "seed": 3, "shard": 3} | changes
        stream = make_rows(row=row, chat=chat)
        return teach(teacher, stream, tmp_path / name, tokenizer=tokenizer, row=row, **numbers)

    return fill


def files(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.folder.iterdir())}


def test_a_store_covers_the_rows_that_were_asked_for(fill: Callable) -> None:
    store, whole = fill()
    assert whole and store.totals()["rows"] == ROWS and not store.verify()
    assert [path.name for path in sorted(store.folder.glob("*.bin"))] == [f"rows-{n:08d}.bin" for n in range(3)]


def test_a_stopped_store_goes_on_to_the_same_bytes(fill: Callable) -> None:
    wanted, _ = fill("at once")
    asked: list[int] = []
    store, whole = fill(stop=lambda: asked.append(1) or len(asked) == 3)
    assert not whole and 0 < len(list(store.folder.glob("*.bin"))) < 3
    store, whole = fill()
    assert whole and files(store) == files(wanted)


def test_more_rows_go_on_from_what_is_there(fill: Callable) -> None:
    fill(rows=4)
    store, _ = fill()
    assert files(store) == files(fill("at once")[0])


@pytest.mark.parametrize("harm", ["byte", "cut", "gone", "unfinished"])
def test_a_damaged_shard_is_named_and_made_again_alone(harm: str, fill: Callable) -> None:
    store, _ = fill()
    before, path = files(store), store.path(1)
    if harm == "byte":
        path.write_bytes(before[path.name][:-1] + bytes([before[path.name][-1] ^ 1]))
    elif harm == "cut":
        path.write_bytes(before[path.name][:-1])
    elif harm == "gone":
        path.unlink()
    else:
        path.with_suffix(".json").unlink()
    assert len(store.verify()) == 1 and path.name in store.verify()[0]
    others = {number: store.path(number).stat().st_mtime_ns for number in (0, 2)}
    notes: list[str] = []
    mended, _ = fill(note=notes.append)
    assert files(mended) == before and all(store.path(n).stat().st_mtime_ns == at for n, at in others.items())
    assert len(notes) == (0 if harm == "gone" else 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"samples": 8}, "number of draws was 16 and is 8"),
        ({"seed": 4}, "seed of the draws"),
        ({"row": 16}, "packing"),
        ({"chat": True}, "data"),
        ({"model": "gemma-2b"}, "teacher's weights"),
        ({"temperature": 2.0}, "temperature"),
    ],
)
def test_another_store_in_its_place_is_refused(changes: dict[str, Any], said: str, fill: Callable) -> None:
    fill(rows=1)
    with pytest.raises(UserError, match=said):
        fill(rows=1, **changes)


@pytest.mark.parametrize("changes", [{"samples": 257}, {"samples": 0}, {"rows": 0}, {"shard": 0}, {"temperature": 0.0}])
def test_impossible_numbers_are_refused_by_name(changes: dict[str, Any], fill: Callable) -> None:
    with pytest.raises(UserError, match=next(iter(changes))):
        fill(**changes)


def test_only_what_is_learnt_is_drawn_at(fill: Callable, make_rows: Callable[..., Packer]) -> None:
    store, _ = fill(chat=True)
    batch = make_rows(chat=True).take(ROWS)
    learnt = int((batch.weight != 0).sum())
    assert sum(written.drawn for n in range(3) if (written := store.written(n))) == learnt < batch.tokens
    assert int(store.samples(batch).counts.sum()) == 16 * learnt


def test_progress_counts_to_the_end(fill: Callable) -> None:
    seen: list[tuple[int, int]] = []
    fill(rows=4)
    fill(progress=lambda done, rows: seen.append((done, rows)))
    assert seen[-1] == (ROWS, ROWS) and seen[0][0] > 3
