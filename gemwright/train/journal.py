"""Where the lines of a run go: its log, always, and TensorBoard where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from gemwright.errors import UserError
from gemwright.runlog import RunLog

_CURVES = ("step", "evaluation")  # the kinds of lines that have numbers to draw


def summary_writer() -> Any:
    """TensorBoard's writer class. Raises `UserError` naming what to install where it is absent."""
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise UserError("TensorBoard is not installed here", hint="pip install 'gemwright[track]'") from error
    return SummaryWriter


class Journal:
    """The log at `out/log.jsonl` and, with `tensorboard`, event files in `out/tensorboard`.

    `step`: where the run goes on; curves of later steps that an interrupted process drew are dropped. Raises
    `UserError` where they cannot be written.
    """

    def __init__(self, out: Path, *, tensorboard: bool, step: int) -> None:
        self._board: Any = None
        self._out = out
        self._log = RunLog(out / "log.jsonl")
        if tensorboard:
            try:
                self._board = summary_writer()(str(out / "tensorboard"), purge_step=step + 1)
            except OSError as error:
                self._log.close()
                raise self._failed(error) from error

    def write(self, kind: str, **fields: Any) -> None:
        """One line; see `RunLog.write`."""
        self._log.write(kind, **fields)
        if self._board is None or kind not in _CURVES:
            return
        try:
            for name, value in _numbers(fields):
                self._board.add_scalar(f"{kind}/{name}", value, fields["step"])
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()
        try:
            if self._board is not None:
                self._board.close()
        except OSError as failure:
            if error is None:
                raise self._failed(failure) from failure

    def _failed(self, error: OSError) -> UserError:
        return UserError(
            f"cannot write {self._out / 'tensorboard'}: {error.strerror or error}",
            hint="make room on the disk, then resume, with or without TensorBoard",
        )


def _numbers(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers among `fields`, by name; those of an inner dict under its name."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
            yield prefix + name, value
