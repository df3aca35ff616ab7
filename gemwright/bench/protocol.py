"""What a contestant hears and answers: one JSON object a line, on stdin and stdout.

    {"do": "load", "path": "…", "threads": 2, "context": 2080}   → {"weights": bytes}
    {"do": "prefill", "tokens": 512, "seed": 1}                                  → {"seconds": …}
    {"do": "decode", "tokens": 64, "context": 16, "seed": 1}                     → {"seconds": …}
    {"do": "batch", "tokens": 32, "sequences": 8, "seed": 1}                     → {"seconds": …}
    {"do": "crowd", "context": 512, "tokens": 128, "sequences": 8, "seed": 1}    → {"seconds": …, "step": …}
    {"do": "turns", "context": 16384, "seed": 1}                                 → {"seconds": …, "unread": …}
    {"do": "memory"}                                                             → {"bytes": …}

`{"cannot": why}` answers what a program is unable to do, `{"error": what, "hint": what to do}` a person's mistake. Only
the standard library is used here: programs in environments of their own speak through this file too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
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


class Host(Player, Protocol):
    """A player that can be asked by many, and again. Others need not have these, nor all of them."""

    def crowd(self, context: int, tokens: int, sequences: int, seed: int) -> Mapping[str, float]:
        """That many sequences at once, each a prompt of `context` tokens and as many drawn ones: from the first one's
        beginning to the last one's end, and a `step` in which all of them draw, on average. `crowd_seeds` are the
        prompts'."""
        ...

    def turns(self, context: int, seed: int) -> Mapping[str, float]:
        """To the first token of a second turn behind a history of about `context` tokens, and to the first token of the
        first turn, when the history was `unread`."""
        ...

    def peak(self) -> int:
        """As `peak_resident`, of the process that holds the model."""
        ...


class CannotDo(Exception):
    """Raised by a player for a measurement that its program does not offer; the message says why."""


def prompt(tokens: int, vocab: int, seed: int) -> list[int]:
    """Made-up ids behind `<bos>`. Another seed or length gives another second id: no cache of prompts helps."""
    first = min(300, vocab // 4)  # beyond the special pieces and the bytes
    return [BOS, *(first + (37 * at + 101 * seed + 7919 * tokens) % (vocab - first) for at in range(1, tokens))]


def crowd_seeds(sequences: int, seed: int) -> list[int]:
    """The seeds of a crowd's prompts, which no other question of the same seeds has."""
    return [1000 + sequences * seed + at for at in range(sequences)]


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
                answer = {"bytes": getattr(player, "peak", peak_resident)()}
            elif do in ("prefill", "decode", "batch", "crowd", "turns"):
                answer = _times(player, do, asked)
            else:
                raise ValueError(f"nothing here can do {do!r}")
        except CannotDo as error:
            answer = {"cannot": str(error)}
        except UserError as error:
            answer = {"error": error.message, "hint": error.hint}
        print(json.dumps(answer), file=answers, flush=True)


def _times(player: Player | None, do: str, asked: dict[str, Any]) -> dict[str, float]:
    method = getattr(player, do, None)
    if method is None:
        raise CannotDo("this program has no such thing")
    found = method(**asked)
    return dict(found) if isinstance(found, Mapping) else {"seconds": found}


def peak_resident(process: int | str = "self") -> int:
    """The most memory that a process ever had, this one or that of a number, in bytes: its own pages and those of
    mapped files (VmHWM).

    Raises `UserError` where the system does not tell.
    """
    try:
        for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError as error:
        raise UserError(f"memory cannot be measured here: {error}", hint="measure on Linux") from error
    raise UserError(f"/proc/{process}/status has no VmHWM", hint="measure on Linux")
