"""The texts of a run, tokenised: one file of tokens to train on, one that is held out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gemwright.data.documents import Document, held_out, read
from gemwright.data.tokens import Encoder, TokenFile, tokenise
from gemwright.errors import UserError
from gemwright.train.run import Data

_SIDES = ("train", "held-out")


def documents(data: Data, side: str) -> Iterator[Document]:
    """The documents of one side of the split, `train` or `held-out`, in order."""
    for document in read(data.sources, field=data.field):
        if held_out(document, data.held_out) == (side == "held-out"):
            yield document


def prepare(data: Data, tokenizer: Encoder, folder: Path, *, resume: bool) -> tuple[TokenFile, TokenFile | None]:
    """The tokens to train on and the held-out ones (None where nothing is held out), under `folder`.

    With `resume`, tokens that are there already are used as they are, so that a text that has changed since cannot
    change a run that has begun. Raises `UserError` where they belong to another tokenizer or request.
    """
    request = {"data": asdict(data) | {"row": None}, "tokenizer": tokenizer.fingerprint()}
    request = json.loads(json.dumps(request))
    sides = _SIDES if data.held_out else _SIDES[:1]
    written = folder / "request.json"
    if resume and written.exists():
        _agree(written, request)
        files = [TokenFile(folder / side) for side in sides]
    else:
        written.unlink(missing_ok=True)
        files = [tokenise(documents(data, side), tokenizer, folder / side) for side in sides]
        written.write_text(json.dumps(request, indent=1) + "\n", encoding="utf-8")
    return files[0], files[1] if len(files) > 1 else None


def _agree(written: Path, request: dict[str, Any]) -> None:
    try:
        found = json.loads(written.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {written}: {error}", hint="start again in another folder") from error
    if found != request:
        raise UserError(
            f"{written.parent} was made by another tokenizer, or from other texts",
            hint="resume with the settings it began with, or start again in another folder",
        )
