"""A program that takes part: what starts it, and its running process."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from gemwright.bench.measures import Entry, Measure, part
from gemwright.bench.protocol import SHORT
from gemwright.errors import UserError

_PATIENCE = 10.0  # seconds for a contestant to leave when its work is over
_LINES = 4  # of a dead contestant's stderr in the message


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A program that takes part: the command that starts it, what its model is loaded with, and the bytes that it is
    expected to hold (0: unknown)."""

    name: str
    command: tuple[str, ...]
    load: Mapping[str, Any]
    bytes: int = 0


class Worker:
    """A contestant's running process."""

    def __init__(self, contestant: Contestant) -> None:
        """Starts it; nothing is loaded yet. Raises `UserError` if there is no such program."""
        self.name = contestant.name
        self.began = time.perf_counter()
        self._load = {"do": "load", **contestant.load}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (a pipe that nobody reads would stop the contestant)
        try:
            self._process = subprocess.Popen(
                contestant.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            self._errors.close()
            raise UserError(
                f"{self.name} cannot be started: {contestant.command[0]}: {error.strerror}",
                hint="set the peers up again",
            ) from error

    def load(self, entry: Entry, seed: int) -> None:
        """Loads the model and draws one token; the entry notes how long both took since the start."""
        entry.weights = self._ask(self._load)["weights"]
        entry.loading.append(time.perf_counter() - self.began)
        if "seconds" in self._ask({"do": "prefill", "tokens": SHORT, "seed": seed}):
            entry.first.append(time.perf_counter() - self.began)

    def measure(self, measure: Measure, seed: int, entry: Entry, *, count: bool = True) -> None:
        """Asks once; the entry notes the answer, or only whether there can be one."""
        if measure.name in entry.cannot:
            return
        answer = self._ask({**measure.ask, "seed": seed})
        if "cannot" in answer:
            entry.cannot[measure.name] = answer["cannot"]
        elif count:
            for name, seconds in answer.items():
                entry.seconds.setdefault(part(measure, name), []).append(seconds)

    def peak(self, entry: Entry) -> None:
        """Asks for the most memory that the process ever had."""
        entry.peak = max(entry.peak, self._ask({"do": "memory"})["bytes"])

    def _ask(self, what: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout, "both are pipes"
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise self._death(what["do"])
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise UserError(f"{self.name} answered {line.strip()[:80]!r}", hint="it must answer JSON lines") from error
        if "error" in answer:
            raise UserError(f"{self.name}: {answer['error']}", hint=answer.get("hint", ""))
        return answer

    def _death(self, do: str) -> UserError:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", errors="replace").splitlines()
        last = " | ".join([line.strip() for line in lines if line.strip()][-_LINES:])
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return UserError(
            f"{self.name} died at {do!r} with {how}: {last or 'it said nothing'}",
            hint="a signal 9 is a lack of memory" if code == -9 else "run its command alone to see more",
        )

    def close(self) -> None:
        """Ends the process: its stdin first, and the process itself if that does not help."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):  # an unsent line of a process that is gone
                if pipe is not None:
                    pipe.close()
        wait_or_kill(self._process, _PATIENCE)
        self._errors.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # it may be in the middle of something long
            self._process.kill()
        self.close()


def wait_or_kill(process: subprocess.Popen[Any], seconds: float) -> None:
    """Waits so long for a process that was told to leave, then ends it."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
