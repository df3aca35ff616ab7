"""This project's server as a contestant: `gemwright serve` as a process of its own, asked over HTTP.

python -m gemwright.bench.served
"""

from __future__ import annotations

import atexit
import ctypes
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gemwright.bench.client import Reply, ask
from gemwright.bench.contestant import wait_or_kill
from gemwright.bench.protocol import SHORT, CannotDo, crowd_seeds, peak_resident, prompt, serve
from gemwright.errors import UserError

_PATIENCE = 60.0  # seconds to leave when told to
_WORDS = ("river", "stone", "lamp", "window", "garden", "letter", "bridge", "winter", "engine", "paper", "mirror")
_PARENT_DEATH = 1  # PR_SET_PDEATHSIG of linux/prctl.h
_GLANCE = 0.05  # seconds between two looks whether it has started
_ANSWER = 16  # tokens of a first turn's answer
_SAMPLE = 8  # a history has so many times as many tokens as there are words in the sample that tells their length
_NEAR = 0.1  # of a history: by how much its length may miss, and what a second turn may read again


class Served:
    """A server that runs. `vocab`: ids of the model that it serves."""

    def __init__(
        self, path: str, threads: int, context: int, sequences: int, vocab: int, settings: tuple[str, ...] = ()
    ) -> None:
        """`context`, `sequences`, `threads`: what the server is started with. `settings`: more words of its command."""
        self.weights = 0  # the engine as a contestant tells
        self._vocab = vocab
        words = ["serve", path, "--port", "0", "--timeout", "86400"]
        for name, value in (("threads", threads), ("context", context), ("sequences", sequences)):
            words += [f"--{name}", str(value)]
        self._log = tempfile.NamedTemporaryFile()  # noqa: SIM115 (as long as the process)
        command = [sys.executable, "-m", "gemwright", *words, *settings]
        quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": self._log, "stderr": self._log}
        self._process = subprocess.Popen(command, preexec_fn=_leave_with_parent, **quiet)
        atexit.register(self.close)
        self._port = self._opened()

    def peak(self) -> int:
        """The most memory that the server ever had, in bytes."""
        return peak_resident(self._process.pid)

    def close(self) -> None:
        """Ends the server."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            wait_or_kill(self._process, _PATIENCE)
        self._log.close()

    def prefill(self, tokens: int, seed: int) -> float:
        """See `protocol.Player`."""
        began, (reply,) = self._complete(tokens, 1, [seed])
        return reply.end - began

    def decode(self, tokens: int, context: int, seed: int) -> float:
        """See `protocol.Player`."""
        _, (reply,) = self._complete(context, tokens + 1, [seed])
        return reply.end - reply.first

    def batch(self, tokens: int, sequences: int, seed: int) -> float:
        """See `protocol.Player`."""
        raise CannotDo("a server is asked by crowds")

    def crowd(self, context: int, tokens: int, sequences: int, seed: int) -> dict[str, float]:
        """See `protocol.Host`."""
        began, replies = self._complete(context, tokens, crowd_seeds(sequences, seed))
        return {"seconds": max(reply.end for reply in replies) - began, "step": step_seconds(replies)}

    def turns(self, context: int, seed: int) -> dict[str, float]:
        """See `protocol.Host`. The first turn's question is the history, its answer a few tokens long."""
        talk: list[dict[str, str]] = []
        words = context // _SAMPLE
        _, sample = self._turn([], _story(words, f"sample {seed}"))  # how many tokens such words have
        unread, first = self._turn(talk, _story(words * context // sample.usage["prompt_tokens"], f"story {seed}"))
        seconds, second = self._turn(talk, f"What does it say of the {_WORDS[seed % len(_WORDS)]}?")
        read, before, known = first.usage["prompt_tokens"], _cached(first), _cached(second)
        if abs(read - context) > _NEAR * context or before > SHORT or known < (1 - _NEAR) * read:
            said = f"the first turn has {read} tokens, {before} of them known; the second finds {known} again"
            raise UserError(said, hint="give the server more context, or more to keep")
        return {"seconds": seconds, "unread": unread}

    def _complete(self, context: int, tokens: int, seeds: list[int]) -> tuple[float, list[Reply]]:
        bodies = [
            {"prompt": prompt(context, self._vocab, seed), "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
            for seed in seeds
        ]
        began, replies = ask(self._port, "/v1/completions", bodies)
        for reply in replies:
            drawn, cached = reply.usage["completion_tokens"], _cached(reply)
            if drawn != tokens or cached > 1:
                said = f"the server drew {drawn} tokens, and read {context - cached}"
                raise UserError(said, hint=f"{tokens} and {context} were asked for; give it more context")
        return began, replies

    def _turn(self, talk: list[dict[str, str]], text: str) -> tuple[float, Reply]:
        """One more question of a conversation, which is added with its answer: seconds to its first token, and all."""
        talk.append({"role": "user", "content": text})
        body = {"messages": talk, "max_tokens": _ANSWER, "temperature": 0, "ignore_eos": True}
        began, (reply,) = ask(self._port, "/v1/chat/completions", [body])
        talk.append({"role": "assistant", "content": reply.text})
        return reply.first - began, reply

    def _opened(self) -> int:
        """The port, once the server has its model."""
        while True:
            ended = self._process.poll() is not None
            said = Path(self._log.name).read_text(encoding="utf-8", errors="replace")
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", said):
                return int(found[1])
            if ended:
                self.close()
                raise UserError(f"the server did not start: {said[-500:].strip()}", hint="start it alone")
            time.sleep(_GLANCE)


def _leave_with_parent() -> None:
    """A contestant may be killed; its server is then told to end (Linux; elsewhere it stays)."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PARENT_DEATH, signal.SIGTERM)


def _cached(reply: Reply) -> int:
    """Tokens of its prompt that the server did not read."""
    return reply.usage["prompt_tokens_details"]["cached_tokens"]


def step_seconds(replies: list[Reply]) -> float:
    """Seconds of a step in which all draw: the time from the last answer's beginning to the first answer's end, over
    the pieces that came meanwhile. A token may add no text and so send nothing: the answer with most pieces counts."""
    begin = max(reply.first for reply in replies)
    end = min(reply.end for reply in replies)
    steps = max(sum(begin < when <= end for when in reply.pieces) for reply in replies)
    if not steps:
        raise UserError("the answers did not overlap", hint="draw more tokens of each")
    return (end - begin) / steps


def _story(words: int, seed: str) -> str:
    """So many words that no other seed has in this order."""
    draw = random.Random(seed)
    return " ".join(draw.choice(_WORDS) for _ in range(words))


if __name__ == "__main__":
    serve(Served)
