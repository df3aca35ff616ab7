"""What a teacher drew, on disk: made once, read by as many runs as learn from it.

A store is a folder. `store.json` says what decides the draws: teacher, tokenizer, data and packing, seed, how many.
Rows of the stream lie in shards, `rows-00000000.bin` and so on (see `shard`), each beside a `.json` with its size and
sha256 that is written last: a shard is there whole, or not there. Each shard can be made again alone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy
import torch

from gemwright.data.batch import Batch
from gemwright.errors import UserError
from gemwright.train.draw import Samples
from gemwright.train.shard import RowDraws, Shard, encode
from gemwright.train.state import place, sha256

FORMAT = 1
_NAMES = {
    "teacher": "the teacher's name",
    "digest": "the teacher's weights",
    "tokenizer": "the tokenizer",
    "source": "the data or their packing",
    "vocab": "the vocabulary",
    "seed": "the seed of the draws",
    "samples": "the number of draws",
    "temperature": "the temperature",
    "shard": "the rows of a shard",
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What decides a store. `teacher`: its name, `digest`: of its weights; `tokenizer`: its fingerprint; `source`: what
    the rows are cut from and in which order; `vocab`: ids that are drawn are below it; `seed`, `samples` and
    `temperature` of the draws; `shard`: rows of each file."""

    teacher: str
    digest: str
    tokenizer: str
    source: str
    vocab: int
    seed: int
    samples: int
    temperature: float
    shard: int


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a shard's file holds: `rows`, `tokens`, how many of them have draws (`drawn`), and `entries`."""

    rows: int
    tokens: int
    drawn: int
    entries: int
    bytes: int
    sha256: str


class Store:
    """A store that is read. `facts` says what it holds.

    Raises `UserError` for a folder that is none, or was written by another version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        found = _read_json(self.folder / "store.json", "make it with `gemwright teach`")
        if found.pop("format", None) != FORMAT:
            raise UserError(f"{self.folder} is a store of another version", hint="make it anew with `gemwright teach`")
        if found.keys() != {field.name for field in fields(Facts)}:
            raise UserError(f"{self.folder / 'store.json'} is damaged", hint="make the store anew")
        self.facts = Facts(**found)
        self._open: dict[int, Shard] = {}

    def check(self, **wanted: object) -> Store:
        """The store itself. Raises `UserError` naming the first of its facts that is not as `wanted`."""
        for name, value in wanted.items():
            if (found := getattr(self.facts, name)) != value:
                raise UserError(
                    f"{self.folder} was made for another run: {_NAMES[name]} was {found} and is {value}",
                    hint="train with the settings that it was made for, or make another store",
                )
        return self

    def check_covers(self, rows: int) -> Store:
        """The store itself. Raises `UserError` where a run of `rows` rows would come to its end before its own. Shards
        are counted by what is written beside them; they are not read."""
        covered = number = 0
        while self.path(number).exists() and (said := self.written(number)) is not None:
            covered, number = covered + said.rows, number + 1
            if said.rows < self.facts.shard:
                break
        if covered < rows:
            raise UserError(
                f"{self.folder} covers {covered:,} rows of the {rows:,} that the run reads",
                hint=f"`gemwright teach` as before with --rows {rows} goes on with it",
            )
        return self

    def samples(self, batch: Batch) -> Samples:
        """What was drawn at each token of the batch whose weight is not 0. Raises `UserError` for rows that the store
        does not hold, and for a damaged shard, which is named; a shard's checksum is taken when it is first read."""
        rows = [self._row(row.serial, row.tokens) for row in batch.rows]
        counted = (batch.weight != 0).cpu().numpy()
        entries = numpy.concatenate([row.entries for row in rows])
        if not entries[counted].all():
            raise UserError(
                f"{self.folder} has no draws at some of the tokens that are learnt", hint="make another store"
            )
        kept = numpy.repeat(counted, entries)
        entries = entries[counted]
        columns = numpy.arange(int(kept.sum())) - numpy.repeat(numpy.cumsum(entries) - entries, entries)
        at = (numpy.repeat(numpy.arange(len(entries)), entries), columns)
        shape = (len(entries), int(entries.max(initial=1)))

        def table(parts: list[numpy.ndarray], kind: type) -> torch.Tensor:
            out = numpy.zeros(shape, dtype=kind)
            out[at] = numpy.concatenate(parts)[kept]
            return torch.from_numpy(out)

        return Samples(
            ids=table([row.ids for row in rows], numpy.int64),
            counts=table([row.counts for row in rows], numpy.int64),
            logprobs=table([row.logprobs for row in rows], numpy.float32),
        ).to(batch.ids.device)

    def _row(self, serial: int, tokens: int) -> RowDraws:
        number, within = divmod(serial, self.facts.shard)
        if number not in self._open:
            if reason := self.damage(number):
                raise UserError(
                    f"{self.folder} lacks row {serial}: {reason}",
                    hint="`gemwright teach` with the same arguments, and --rows for as many as are read, makes it",
                )
            self._open[number] = Shard(self.path(number), self.facts.vocab)
        shard = self._open[number]
        if within >= shard.rows:
            raise UserError(
                f"{self.folder} ends before row {serial}", hint="`gemwright teach` with a larger --rows goes on"
            )
        row = shard.row(within)
        if len(row.entries) != tokens:
            raise UserError(
                f"row {serial} has {tokens} tokens, and {len(row.entries)} in {self.path(number)}",
                hint="make the store anew",
            )
        return row

    def path(self, number: int) -> Path:
        """Where a shard's file stands."""
        return self.folder / f"rows-{number:08d}.bin"

    def written(self, number: int) -> Written | None:
        """What a shard says that it holds; None where it does not."""
        try:
            return Written(**json.loads(self.path(number).with_suffix(".json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def damage(self, number: int, rows: int = 0) -> str:
        """Why a shard cannot be used, in words that name it; empty where it is whole and has at least `rows` rows."""
        path, said = self.path(number), self.written(number)
        if said is None or not path.exists():
            return f"{path.name} is not there" if not path.exists() else f"{path.name} was not finished"
        if said.rows < rows:
            return f"{path.name} ends after {said.rows} of {rows} rows"
        if (size := path.stat().st_size) != said.bytes:
            return f"{path.name} is damaged: {size} bytes where {said.bytes} were written"
        if sha256(path) != said.sha256:
            return f"{path.name} is damaged: its sha256 is not the one that was written"
        return ""

    def verify(self) -> list[str]:
        """Reads every file. The damage of each shard that is not whole, and of each that is missing before the last."""
        numbers = [int(path.stem[5:]) for path in self.folder.glob("rows-*.bin")]
        return [reason for number in range(max(numbers, default=-1) + 1) if (reason := self.damage(number))]

    def totals(self) -> dict[str, float]:
        """Of all shards that are there: `rows`, `tokens`, `bytes`, and bytes for each token that is learnt and for
        each draw."""
        found = [self.written(int(path.stem[5:])) for path in sorted(self.folder.glob("rows-*.json"))]
        known = [one for one in found if one is not None]
        size, drawn = sum(one.bytes for one in known), sum(one.drawn for one in known)
        return {
            "rows": sum(one.rows for one in known),
            "tokens": sum(one.tokens for one in known),
            "bytes": size,
            "bytes_per_token": size / max(drawn, 1),
            "bytes_per_sample": size / max(drawn * self.facts.samples, 1),
        }

    def write(self, number: int, rows: list[RowDraws]) -> None:
        """Puts a shard in its place, and what it holds beside it. Raises `UserError` where the disk takes no more."""
        data = encode(rows, self.facts.vocab)
        written = Written(
            rows=len(rows),
            tokens=sum(len(row.entries) for row in rows),
            drawn=sum(int((row.entries > 0).sum()) for row in rows),
            entries=sum(len(row.ids) for row in rows),
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        self._open.pop(number, None)
        beside = self.path(number).with_suffix(".json")
        _place(self.path(number), data)
        _place(beside, (json.dumps(asdict(written), indent=1) + "\n").encode())


def create(folder: str | Path, facts: Facts) -> Store:
    """The store of these facts in `folder`, made there or gone on with. Raises `UserError` naming what differs where
    another one is there, and where the folder cannot be written."""
    folder = Path(folder)
    path = folder / "store.json"
    if path.exists():
        return Store(folder).check(**{name: value for name, value in asdict(facts).items() if name != "teacher"})
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}", hint="choose another folder") from error
    _place(path, (json.dumps({"format": FORMAT, **asdict(facts)}, indent=1) + "\n").encode())
    return Store(folder)


def _read_json(path: Path, hint: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UserError(f"{path.parent} is no store: {path.name}: {reason}", hint=hint) from error
    return found if isinstance(found, dict) else {}


def _place(path: Path, data: bytes) -> None:
    try:
        place(path, data)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}", hint="make room on the disk; the same command goes on"
        ) from error
