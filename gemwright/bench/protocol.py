"""What a contestant hears and answers: one JSON object a line, on stdin and stdout.

    {"do": "load", "path": "…", "threads": 2, "context": 2080}   → {"weights": bytes}
    {"do": "prefill", "tokens": 512, "seed": 1}                                  → {"seconds": …}
    {"do": "decode", "tokens": 64, "context": 16, "seed": 1}                     → {"seconds": …}
    {"do": "batch", "tokens": 32, "sequences": 8, "seed": 1}                     → {"seconds": …}
    {"do": "memory"}                                                             → {"bytes": …}

`{"cannot": why}` answers what a program is unable to do, `{"error": what, "hint": what to do}` a person's mistake. Only
the standard library is used here: programs in environments of their own speak through this file too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from gemwright.errors import UserError

BOS = 2  # of every Gemma
SHORT = 16  # tokens of the prompts that decoding starts from


class Player(Protocol):
    """A loaded model, and the times of what it can do, in seconds. Greedy; no answer ends before its count."""

    weights: int
    """Bytes of weights that are read for a drawn token."""

    def prefill(self, tokens: int, seed: int) -> float:
        """From a prompt of that many tokens, none of it seen before, to the first drawn token."""
        ...

    def decode(self, tokens: int, context: int, seed: int) -> float:
        """That many tokens after the first one, behind a prompt of `context` tokens."""
        ...

    def batch(self, tokens: int, sequences: int, seed: int) -> float:
        """That many tokens of each sequence, all of them in every step, behind prompts of `SHORT` tokens or a few
        more."""
        ...


class CannotDo(Exception):
    """Raised by a player for a measurement that its program does not offer; the message says why."""


def prompt(tokens: int, vocab: int, seed: int) -> list[int]:
    """Made-up ids behind `<bos>`. Another seed or length gives another second id: no cache of prompts helps."""
    first = min(300, vocab // 4)  # beyond the special pieces and the bytes
    return [BOS, *(first + (37 * at + 101 * seed + 7919 * tokens) % (vocab - first) for at in range(1, tokens))]


def serve(load: Callable[..., Player]) -> None:
    """Answers until stdin ends. `load` gets the fields of the line that asks for it.

    Whatever a library prints goes to stderr.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    player: Player | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        do = asked.pop("do")
        try:
            if do == "load":
                player = load(**asked)
                answer: dict[str, Any] = {"weights": player.weights}
            elif do == "memory":
                answer = {"bytes": peak_resident()}
            elif do in ("prefill", "decode", "batch"):
                answer = {"seconds": getattr(player, do)(**asked)}
            else:
                raise ValueError(f"nothing here can do {do!r}")
        except CannotDo as error:
            answer = {"cannot": str(error)}
        except UserError as error:
            answer = {"error": error.message, "hint": error.hint}
        print(json.dumps(answer), file=answers, flush=True)


def peak_resident() -> int:
    """The most memory that this process ever had, in bytes: its own pages and those of mapped files (VmHWM).

    Raises `UserError` where the system does not tell.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError as error:
        raise UserError(f"memory cannot be measured here: {error}", hint="measure on Linux") from error
    raise UserError("/proc/self/status has no VmHWM", hint="measure on Linux")
