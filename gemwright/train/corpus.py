"""The texts of a run, tokenised: what is trained on, in one file of tokens or one for each source, and what is held
out; and how they become rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gemwright.data.documents import Conversation, Document, held_out, read
from gemwright.data.mixture import Mixture, unimax
from gemwright.data.pack import Packer, Rows
from gemwright.data.report import Report
from gemwright.data.tokens import Encoder, TokenFile, Writer
from gemwright.errors import UserError
from gemwright.train.run import Data, Run

_HELD_OUT = "held-out"


def documents(data: Data, side: str) -> Iterator[Document | Conversation]:
    """The documents of one side of the split, `train` or `held-out`, in order."""
    for document in read(data.sources, field=data.field, bad=data.bad):
        if held_out(document, data.held_out) == (side == _HELD_OUT):
            yield document


def prepare(
    data: Data, tokenizer: Encoder, folder: Path, *, resume: bool, picture_tokens: int | None = None
) -> tuple[tuple[TokenFile, ...], TokenFile | None]:
    """The tokens to train on and the held-out ones (None where nothing is held out), under `folder`.

    There is one file to train on, or one for each source where sources have shares of their own (`data.weights`,
    `data.epochs`). What was kept and dropped stands in `report.json`; `notes` reads it. With `resume`, tokens that are
    there already are used as they are, so that a text that has changed since cannot change a run that has begun.
    `picture_tokens`: the soft tokens of a picture (None: a picture is a mistake). Raises `UserError` where they belong
    to another tokenizer or request, and as `read` does.
    """
    request: dict[str, Any] = {"data": asdict(data) | {"row": None}, "tokenizer": tokenizer.fingerprint()}
    request |= {} if picture_tokens is None else {"picture_tokens": picture_tokens}
    request = json.loads(json.dumps(request))
    written = folder / "request.json"
    if resume and written.exists():
        _agree(written, request)
        return trained(data, folder), TokenFile(folder / _HELD_OUT) if data.held_out else None
    written.unlink(missing_ok=True)
    groups = dict(zip(_names(data), [(one,) for one in data.sources] if _parted(data) else [data.sources], strict=True))
    with ExitStack() as stack:
        sides = [*groups, _HELD_OUT] if data.held_out else [*groups]
        writers = {
            side: stack.enter_context(Writer(tokenizer, folder / side, picture_tokens=picture_tokens)) for side in sides
        }
        reading = Report()
        for side, sources in groups.items():
            for document in read(sources, field=data.field, bad=data.bad, report=reading):
                writers[_HELD_OUT if held_out(document, data.held_out) else side].add(document)
        reports = {"read": reading, **{side: writer.report for side, writer in writers.items()}}
        for side, sources in groups.items():
            _check_some(reports[side], f"{', '.join(sources)}: nothing to train on", "give other files")
        if data.held_out:
            hint = "set data.held_out to a larger share, or to 0 to hold out nothing"
            _check_some(reports[_HELD_OUT], "no text was held out", hint)
        files = {side: writer.finish() for side, writer in writers.items()}
    _write(folder / "report.json", {name: report.to_json() for name, report in reports.items()})
    _write(written, request)
    return tuple(files[side] for side in groups), files.get(_HELD_OUT)


def trained(data: Data, folder: Path) -> tuple[TokenFile, ...]:
    """The files under `folder` that `prepare` made to train on. Raises `UserError` where one is not whole."""
    return tuple(TokenFile(folder / name) for name in _names(data))


def notes(folder: Path) -> list[str]:
    """What `prepare` dropped, a sentence for each reason; that its report cannot be read is one, too."""
    path = folder / "report.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [f"{name}: {line}" for name, report in found.items() for line in Report(**report).sentences()]
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        return [f"what was dropped is not known: {path} cannot be read ({error})"]


def rows(run: Run, files: Sequence[TokenFile]) -> Rows:
    """The rows that `run` trains on, from the files that `prepare` made. Raises `UserError` where they do not fill the
    run within `data.epochs`."""
    weights = _weights(run, files)
    if len(files) == 1:
        return Packer(files[0], row=run.data.row, seed=run.seed)
    return Mixture(files, weights, row=run.data.row, seed=run.seed)


def _weights(run: Run, files: Sequence[TokenFile]) -> Sequence[float]:
    if run.data.epochs is None:
        return run.data.weights
    budget, most = run.steps * run.rows * run.data.row, run.data.epochs
    sizes = [file.meta.tokens for file in files]
    if budget > most * sum(sizes):
        raise UserError(
            f"the run takes {budget:,} tokens, the texts have {sum(sizes):,}, and data.epochs is {most:g}",
            hint="set fewer steps, or a larger data.epochs, or give more text",
        )
    return unimax(sizes, budget, most)


def _parted(data: Data) -> bool:
    return bool(data.weights) or data.epochs is not None


def _names(data: Data) -> list[str]:
    return [f"train-{number}" for number in range(len(data.sources))] if _parted(data) else ["train"]


def _check_some(report: Report, message: str, hint: str) -> None:
    if not report.documents + report.conversations:
        raise UserError("; ".join([message, *report.sentences()]), hint=hint)


def _write(path: Path, value: Any) -> None:
    try:
        path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", hint="make room, or choose another folder") from error


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
