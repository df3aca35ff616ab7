"""A folder of items for training and for testing, with the audit that nothing lies on both sides."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gemwright.errors import UserError
from gemwright.image.data_url import data_url
from gemwright.paths import replacing
from gemwright.tasks.item import JSON, Item
from gemwright.tasks.pictures.draw import png
from gemwright.tasks.skills import EVERY
from gemwright.tasks.split import SHARE, Audit, Side, mixed

EVENLY: Mapping[str, float] = {skill.SKILL: 1.0 for skill in EVERY}


def write(
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    train: int,
    test: int,
    mix: Mapping[str, float] = EVENLY,
    share: float = SHARE,
) -> dict[str, Any]:
    """Writes `train.jsonl`, `test.jsonl` and `audit.json` into `folder` and returns the audit.

    `train` and `test` count items, `mix` weighs skills ("arithmetic") and tasks ("arithmetic/add3"). A line is an
    item's record (`record`), and chat data at once. The same arguments give the same bytes. Items are written
    as they are drawn; a file appears under its name when it is whole, the audit last.

    Raises:
        UserError: the folder cannot be written.
        ValueError: the mixture is none, or a skill has no more different items.
    """
    target = Path(folder)
    audit = Audit()
    files: dict[str, str] = {}
    try:
        target.mkdir(parents=True, exist_ok=True)
        (target / "audit.json").unlink(missing_ok=True)  # it would speak of other files from here on
        sides: tuple[tuple[Side, int], ...] = (("train", train), ("test", test))
        for side, count in sides:
            drawn = mixed(mix, side, seed=seed, count=count, share=share)
            files[f"{side}.jsonl"] = _lines(target / f"{side}.jsonl", _counted(audit, side, drawn))
        report = {"seed": seed, "share": share, "mix": dict(mix), "sha256": files, **audit.report()}
        with replacing(target / "audit.json") as part:
            part.write_bytes(json.dumps(report, indent=2).encode() + b"\n")
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}", hint="choose another folder") from error
    assert not any(audit.overlaps.values()), "an item's key does not decide its prompt"
    return report


def record(item: Item) -> dict[str, JSON]:
    """The item's record (`Item.to_json`) as chat data that is whole: the message that asks about a picture has it under
    `images`, as a `data:` URL of a PNG."""
    found = item.to_json()
    if item.scene is not None:
        turns = found["messages"]
        assert isinstance(turns, list) and isinstance(turns[-2], dict)
        turns[-2]["images"] = [data_url(png(item))]
    return found


def read(path: str | os.PathLike[str]) -> Iterator[Item]:
    """The items of a file that `write` made, one at a time. Raises `UserError` that names a line that is no item."""
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield Item.from_json(json.loads(line))
                except ValueError as error:
                    hint = "give a file of items, as train.jsonl and test.jsonl are"
                    raise UserError(f"{path}, line {number}: {error}", hint=hint) from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", hint="check the path") from error


def _counted(audit: Audit, side: Side, drawn: Iterator[Item]) -> Iterator[Item]:
    for item in drawn:
        audit.add(side, item)
        yield item


def _lines(path: Path, drawn: Iterator[Item]) -> str:
    """Writes a line per item and gives the sha256 of the file."""
    digest = hashlib.sha256()
    with replacing(path) as part, part.open("wb") as file:
        for item in drawn:
            line = json.dumps(record(item), ensure_ascii=False).encode() + b"\n"
            digest.update(line)
            file.write(line)
    return digest.hexdigest()
