"""What a tower made of pictures, on the disk: each different picture once, mapped and not read.

A folder of embeddings holds `facts.json`, which says what tower made them, and shards: `00000000.bin` has the soft
tokens of some pictures, one after the other, in the tower's own dtype; `00000000.json`, which is written last, names
the pictures by their fingerprints, and the size and sha256 of the .bin. So a shard is there whole or not at all, and a
folder that was left in the middle is completed later.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from gemwright.errors import UserError
from gemwright.nn.gemma import Tower
from gemwright.train.state import place, sha256

FORMAT = 1
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_AGAIN = "encode into another folder, or delete this one"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """`tower`: the digest of the weights that encoded; each picture has `tokens` soft tokens of `width`, in `dtype`."""

    format: int
    tower: str
    tokens: int
    width: int
    dtype: str

    @property
    def bytes(self) -> int:
        """Of a picture."""
        return self.tokens * self.width * _DTYPES[self.dtype].itemsize


def facts_of(tower: Tower) -> Facts:
    """What a folder that this tower fills says of itself."""
    return Facts(
        format=FORMAT,
        tower=tower.digest(),
        tokens=tower.spec.tokens,
        width=tower.projector.weight.shape[1],
        dtype=str(tower.dtype).removeprefix("torch."),
    )


class Embeddings:
    """A folder of embeddings. Raises `UserError` for one that is absent, or of another format, and for shards that are
    damaged: in size when it is opened, in their bytes when the first picture of them is asked for."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.facts = _facts(self.folder)
        self._places: dict[str, tuple[int, int]] = {}  # picture → shard and row
        self._open: dict[int, numpy.ndarray] = {}
        self._sums: dict[int, str] = {}
        for path in sorted(self.folder.glob("*.json")):
            if path.stem.isdecimal():
                self._index(int(path.stem), path)

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._places)

    def __contains__(self, picture: str) -> bool:
        return picture in self._places

    def soft(self, picture: str) -> Tensor:
        """`[tokens, width]` of the picture of that fingerprint. Raises `UserError` where it is not there whole."""
        if picture not in self._places:
            raise UserError(f"{self.folder} does not hold a picture of these texts", hint="run gemwright encode again")
        shard, row = self._places[picture]
        if shard not in self._open:
            self._open[shard] = self._map(shard)
        values = torch.from_numpy(self._open[shard][row].copy())
        return values.view(_DTYPES[self.facts.dtype]).unflatten(0, (self.facts.tokens, self.facts.width))

    def check_covers(self, pictures: Iterable[str]) -> None:
        """Raises `UserError` where some of the pictures are not there."""
        if missing := sum(1 for picture in set(pictures) if picture not in self):
            hint = f"run gemwright encode with these texts and --out {self.folder}: it adds what is missing"
            raise UserError(f"{self.folder} lacks {missing} of the pictures that the texts show", hint=hint)

    def damaged(self) -> list[int]:
        """The shards whose bytes are not what was written."""
        return [shard for shard, wanted in self._sums.items() if sha256(self._bin(shard)) != wanted]

    def drop(self, shard: int) -> None:
        """Removes a shard, and all that it held."""
        for suffix in (".json", ".bin"):
            (self.folder / f"{shard:08d}{suffix}").unlink(missing_ok=True)
        self._places = {picture: place for picture, place in self._places.items() if place[0] != shard}
        self._sums.pop(shard)
        self._open.pop(shard, None)

    def add(self, pictures: Sequence[str], soft: Sequence[Tensor]) -> None:
        """A shard more. Raises `UserError` where it cannot be written."""
        shard = max(self._sums, default=-1) + 1
        path = self._bin(shard)
        try:
            with path.open("wb") as file:
                for one in soft:
                    file.write(one.contiguous().cpu().view(torch.uint8).numpy().data)
                file.flush()
                os.fsync(file.fileno())
            said = {"pictures": list(pictures), "bytes": path.stat().st_size, "sha256": sha256(path)}
            _write(path.with_suffix(".json"), said)
        except OSError as error:
            raise _unwritten(self.folder, error) from error
        self._index(shard, path.with_suffix(".json"))

    def _bin(self, shard: int) -> Path:
        return self.folder / f"{shard:08d}.bin"

    def _index(self, shard: int, path: Path) -> None:
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            pictures, size = said["pictures"], self._bin(shard).stat().st_size
            if not size == said["bytes"] == len(pictures) * self.facts.bytes:
                raise ValueError(f"{size} bytes for {len(pictures)} pictures")
            self._sums[shard] = said["sha256"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UserError(f"{path} is damaged: {error}", hint="delete it, and run gemwright encode again") from error
        self._places |= {picture: (shard, row) for row, picture in enumerate(pictures)}

    def _map(self, shard: int) -> numpy.ndarray:
        path = self._bin(shard)
        if sha256(path) != self._sums[shard]:
            hint = "run gemwright encode again: it makes anew what is damaged"
            raise UserError(f"{path} is damaged: its bytes are not what was written", hint=hint)
        return numpy.memmap(path, dtype=numpy.uint8, mode="r").reshape(-1, self.facts.bytes)


def create(folder: str | Path, facts: Facts) -> Embeddings:
    """The folder, made if it is not there. Raises `UserError` where another tower's embeddings lie there."""
    path = Path(folder)
    if not (path / "facts.json").exists():
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise UserError(f"{path} is not empty and holds no embeddings", hint="choose another folder")
            _write(path / "facts.json", asdict(facts))
        except OSError as error:
            raise _unwritten(path, error) from error
    found = Embeddings(path)
    if found.facts != facts:
        raise UserError(f"{path} holds what another tower made, or the same in another dtype", hint=_AGAIN)
    return found


def _facts(folder: Path) -> Facts:
    path = folder / "facts.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and found.get("format") != FORMAT:
            raise ValueError(f"its format is {found.get('format')}, and this version reads {FORMAT}")
        facts = Facts(**found)
        if facts.dtype not in _DTYPES or not facts.bytes > 0:
            raise ValueError("a size or dtype that there is not")
        return facts
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder} holds no embeddings: {error}", hint="make them with gemwright encode") from error


def _write(path: Path, tree: dict[str, Any]) -> None:
    place(path, f"{json.dumps(tree, indent=1)}\n".encode())


def _unwritten(folder: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {folder}: {error.strerror or error}", hint="make room, or choose another folder")
