"""What is asked of a contestant, and what was measured of it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemwright.bench.protocol import SHORT


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A question: its name in the table, the line that asks it, the tokens that its time is divided by, and how often
    the weights are read meanwhile (0: not a matter of bandwidth)."""

    name: str
    ask: Mapping[str, Any]
    tokens: int
    reads: int = 0


@dataclass(kw_only=True)
class Entry:
    """What was measured of one contestant. Times in seconds, one for each round (see `part`); memory in bytes.

    `loading`: from the start of the process to the loaded model; `first`: to the first token of a short prompt.
    `cannot`: the measures that it does not offer, and why.
    """

    name: str
    weights: int = 0
    peak: int = 0
    loading: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    cannot: dict[str, str] = field(default_factory=dict)

    def speed(self, measure: Measure) -> float | None:
        """Tokens per second of the median round."""
        times = self.seconds.get(measure.name)
        return measure.tokens / statistics.median(times) if times else None

    def rate(self, measure: Measure) -> float | None:
        """GB/s of weights read in the median round."""
        times = self.seconds.get(measure.name)
        return self.weights * measure.reads / statistics.median(times) / 1e9 if times and measure.reads else None


def prefill(tokens: int) -> Measure:
    """The time to read a prompt."""
    return Measure(name=f"prefill {tokens:,}", ask={"do": "prefill", "tokens": tokens}, tokens=tokens)


def decode(tokens: int, context: int = SHORT) -> Measure:
    """The time of tokens drawn one by one."""
    name = "decode" if context == SHORT else f"decode at {context:,}"
    return Measure(name=name, ask={"do": "decode", "tokens": tokens, "context": context}, tokens=tokens, reads=tokens)


def batch(tokens: int, sequences: int) -> Measure:
    """The time of tokens that several sequences draw together."""
    ask = {"do": "batch", "tokens": tokens, "sequences": sequences}
    return Measure(name=f"batch of {sequences}", ask=ask, tokens=tokens * sequences, reads=tokens)


def crowd(context: int, tokens: int, sequences: int) -> Measure:
    """The time of several sequences at once, prompts and all; its part "step" is that of a step in which all draw."""
    ask = {"do": "crowd", "context": context, "tokens": tokens, "sequences": sequences}
    name = f"{sequences} of {context:,} + {tokens:,}"
    return Measure(name=name, ask=ask, tokens=sequences * (context + tokens))


def turns(context: int) -> Measure:
    """The time to the first token of a second turn; its part "unread" is that of the first."""
    return Measure(name=f"second turn at {context:,}", ask={"do": "turns", "context": context}, tokens=1)


def part(measure: Measure, name: str) -> str:
    """Under what name an entry has a part of a measure's times; "seconds" is the measure itself."""
    return measure.name if name == "seconds" else f"{measure.name}, {name}"


def longest(measures: Sequence[Measure]) -> int:
    """Tokens of the longest single sequence that the measures ask for, prompt and answer."""
    needs = [SHORT + 1]
    for measure in measures:
        ask = measure.ask
        if ask["do"] == "prefill":
            needs.append(ask["tokens"] + 1)
        elif ask["do"] == "decode":
            needs.append(ask["context"] + ask["tokens"] + 1)
    return max(needs)
