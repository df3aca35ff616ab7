"""Fills a store with what a teacher draws, shard by shard; what is there whole is left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from gemwright.data.batch import Batch
from gemwright.data.pack import Rows
from gemwright.errors import UserError
from gemwright.text.tokenizer import Tokenizer
from gemwright.train.draw import Samples
from gemwright.train.shard import MOST, RowDraws
from gemwright.train.store import Facts, Store, create
from gemwright.train.teacher import Teacher

_PASS = 4096  # tokens that the teacher reads at once, at least a row
_SKIP = 64  # rows that are read at once and not used


def teach(
    teacher: Teacher,
    stream: Rows,
    folder: str | Path,
    *,
    tokenizer: Tokenizer,
    row: int,
    rows: int,
    samples: int,
    seed: int,
    temperature: float = 1.0,
    shard: int = 64,
    progress: Callable[[int, int], None] | None = None,
    note: Callable[[str], None] | None = None,
    stop: Callable[[], bool] | None = None,
    device: str = "cpu",
) -> tuple[Store, bool]:
    """Makes or completes the store in `folder`: `samples` draws at each learnt token of the first `rows` rows of
    `stream`, which stands at its beginning; a row has at most `row` tokens, a file `shard` rows.

    `progress(done, rows)` is called after each pass; `note` is told what is damaged and made again. `stop()` is asked
    after each pass; a true answer leaves the shards that are whole. Returns the store, and whether it is complete.
    Raises `UserError` where `folder` holds another store, and where a value makes none.
    """
    limits = {"samples": 0 < samples <= MOST, "rows": rows > 0, "temperature": temperature > 0, "shard": shard > 0}
    if wrong := [name for name, fits in limits.items() if not fits]:
        hint = f"1 to {MOST}" if wrong[0] == "samples" else "it must be more than 0"
        raise UserError(f"there is no store with such a number of {wrong[0]}", hint=hint)
    facts = Facts(
        teacher=teacher.name,
        digest=teacher.model.digest(),
        tokenizer=tokenizer.fingerprint(),
        source=stream.source,
        vocab=teacher.vocab,
        seed=seed,
        samples=samples,
        temperature=temperature,
        shard=shard,
    )
    store = create(folder, facts)
    wanted = {number: min(shard, rows - number * shard) for number in range(-(-rows // shard))}
    missing = _missing(store, wanted, note)
    done = rows - sum(wanted[number] for number in missing)
    for number in missing:
        _skip(stream, number * shard)
        found: list[RowDraws] = []
        while len(found) < wanted[number]:
            if stop is not None and stop():
                return store, False
            batch = stream.take(min(max(_PASS // row, 1), wanted[number] - len(found))).to(device)
            found += split(batch, teacher.samples(batch, samples, seed, temperature))
            if progress is not None:
                progress(done + len(found), rows)
        store.write(number, found)
        done += len(found)
    return store, True


def split(batch: Batch, samples: Samples) -> list[RowDraws]:
    """The samples of a batch by its rows."""
    kept = samples.counts > 0
    entries = torch.zeros(batch.tokens, dtype=torch.int64, device=batch.ids.device)
    entries[batch.weight != 0] = kept.sum(1)
    lengths = [row.tokens for row in batch.rows]
    sizes = [int(part.sum()) for part in entries.split(lengths)]
    columns = [tensor[kept].cpu().split(sizes) for tensor in (samples.ids, samples.counts, samples.logprobs)]
    return [
        RowDraws(entries=each.numpy(), ids=ids.numpy(), counts=counts.numpy(), logprobs=logprobs.numpy())
        for each, ids, counts, logprobs in zip(entries.cpu().split(lengths), *columns, strict=True)
    ]


def _missing(store: Store, wanted: dict[int, int], note: Callable[[str], None] | None) -> list[int]:
    """The shards that are to be made, in order; those that are there and not whole are noted."""
    found = {number: reason for number, rows in wanted.items() if (reason := store.damage(number, rows))}
    if note is not None:
        for number, reason in found.items():
            if store.path(number).exists():
                note(f"{reason}; it is made again")
    return list(found)


def _skip(stream: Rows, serial: int) -> None:
    """Moves the stream on to the row of that number."""
    while (left := serial - stream.cursor.serial) > 0:
        stream.take(min(left, _SKIP))
