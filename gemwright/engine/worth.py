"""How many guesses are worth running, by measured times and successes. Plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_MARGIN = 1.1  # what a row must bring, as a multiple of what its time brings otherwise
_RECENT = 0.98  # how much a step's time counts after the next one
_MEMORY = 0.9  # how much a guess that came true or not counts after the next one
_FREE = 9.0  # rows as whose time all else in a step is taken before steps of several sizes were measured
_DOUBT = 0.25  # the weight of that estimate, in rows squared
_LEAST = 0.01  # of a step: what a row takes at least


class Cost:
    """Seconds of a step by its rows: a straight line through the latest ones."""

    def __init__(self) -> None:
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)  # of 1, rows, seconds, rows², rows · seconds

    def add(self, rows: int, seconds: float) -> None:
        """One more step."""
        new = (1.0, rows, seconds, rows * rows, rows * seconds)
        steps, *rest = (_RECENT * old + one for old, one in zip(self._sums, new, strict=True))
        self._sums = (steps, rest[0], rest[1], rest[2], rest[3])

    def line(self) -> tuple[float, float]:
        """Seconds of a step without rows, and of each row; in units of a row where no step was measured yet."""
        steps = self._sums[0]
        if not steps:
            return _FREE, 1.0
        _, rows, seconds, squares, products = (total / steps for total in self._sums)
        guess = seconds / (_FREE + rows)
        row = (products - rows * seconds + _DOUBT * guess) / (squares - rows * rows + _DOUBT)
        row = min(max(row, _LEAST * seconds), seconds / rows)
        return seconds - row * rows, row


@dataclass
class Chance:
    """How often guesses of one kind came true lately."""

    true: float = 0.0
    tried: float = 0.0

    def add(self, true: int, false: int) -> None:
        """Guesses in order: so many came true, then so many did not."""
        for hit in (1,) * true + (0,) * false:
            self.true, self.tried = _MEMORY * self.true + hit, _MEMORY * self.tried + 1

    @property
    def share(self) -> float:
        """The share that came true; a half where nothing is known."""
        return (self.true + 0.5) / (self.tried + 1)


def worth(
    offers: Sequence[tuple[int, float]], *, drawing: int, rows: int, cost: Cost, most: int, extra: float = 0.0
) -> list[int]:
    """How many guesses to run of each offer (how many there are, and the share of its kind that comes true).

    The step has `rows` rows without them, draws for `drawing` requests, and takes `most` more rows. `extra`: seconds
    before the step that one more guess for every offer takes.
    """
    start, row = cost.line()
    tokens, seconds = float(drawing), start + row * rows
    row += extra / max(1, len(offers))
    gains = [(share ** (at + 1), -index) for index, (length, share) in enumerate(offers) for at in range(length)]
    counts = [0] * len(offers)
    for gain, index in sorted(gains, reverse=True)[:most]:
        if gain * seconds <= _MARGIN * row * tokens:
            break  # the others bring less, and a faster step asks for more
        counts[-index] += 1
        tokens, seconds = tokens + gain, seconds + row
    return counts
