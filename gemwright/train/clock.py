"""Where the time of a run goes, part by part."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

Part = Literal["data", "model", "optimiser", "evaluation", "checkpoint"]
PARTS: tuple[Part, ...] = get_args(Part)


class Clock:
    """Seconds by part: reading `data`; the `model` forward and backward; clipping, the `optimiser` and the average of
    the weights; `evaluation`; writing a `checkpoint`. On a GPU, work counts to the part that waits for it."""

    def __init__(self) -> None:
        self.seconds: dict[Part, float] = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def part(self, name: Part) -> Iterator[None]:
        """Counts the block's time to `name`."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] += time.monotonic() - begin

    @staticmethod
    def training(seconds: dict[Part, float]) -> float:
        """What steps took of these seconds by part; the rest is watching."""
        return seconds["data"] + seconds["model"] + seconds["optimiser"]

    def since(self, earlier: dict[Part, float]) -> dict[Part, float]:
        """Seconds by part after `earlier`, a copy of `seconds`."""
        return {name: seconds - earlier[name] for name, seconds in self.seconds.items()}
