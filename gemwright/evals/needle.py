"""How far back a model can look: one record of a long text is asked for, over a grid of lengths and distances.

The questions are those of the retrieval tasks, texts that no training has seen. Where a text is to be longer than the
tasks make them, sentences without records are put before and behind it. Lengths and distances are counted in the
model's own tokens: a length is that of the whole prompt, a distance that of what follows the record's value in the
user's message.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from gemwright.arch.spec import Attention
from gemwright.evals.answers import SEQUENCES, Asked, ask, prompt
from gemwright.evals.interval import Interval, wilson
from gemwright.evals.pocket import sampling
from gemwright.lm import LM
from gemwright.tasks import retrieval, split, words
from gemwright.tasks.item import Item
from gemwright.text.turns import Message

ITEMS = 20  # of a length and a distance
MAX_TOKENS = 24  # of an answer
SHORTEST, UNLIMITED = 256, 8192  # of the lengths, the second for models without a limit
DISTANCES = (0.05, 0.25, 0.5, 0.75, 0.95)  # as shares of the length
_FRAME = 40  # tokens that opening, question and turn marks may take


@dataclass(frozen=True, kw_only=True)
class Cell:
    """`items` prompts of about `length` tokens, asking for what stands `share` of it back. `tokens` and `distance` are
    the means that came of it; `score` is a mean from 0 to 1 with its 95% interval. `beyond`: every distance is larger
    than the window of the local layers, so that none of them sees record and answer at once."""

    length: int
    share: float
    items: int
    tokens: float
    distance: float
    beyond: bool
    score: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All cells, the shortest length first. `window`: of the local layers, None where there are none."""

    cells: tuple[Cell, ...]
    window: int | None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "window": self.window,
            "cells": [asdict(cell) | {"interval": list(cell.interval)} for cell in self.cells],
        }


def lengths(lm: LM) -> list[int]:
    """256, 512, ... tokens, and what the engine's context holds beside an answer."""
    most = (lm.engine.context or UNLIMITED + MAX_TOKENS) - MAX_TOKENS
    doubled = [SHORTEST << power for power in range(32) if SHORTEST << power < most]
    # A last length that adds little to the one before takes its place.
    return [length for length in doubled if length < 0.8 * most] + [most]


def work(lm: LM, count: int) -> tuple[int, int]:
    """The questions of a grid with `count` items in each cell, and about how many tokens are read for them."""
    found = lengths(lm)
    return count * len(DISTANCES) * len(found), count * len(DISTANCES) * sum(found)


def window(lm: LM) -> int | None:
    """Of the local layers, in tokens; None where there are none."""
    mixers = [layer.mixer for layer in lm.spec.layers if isinstance(layer.mixer, Attention)]
    return min((mixer.window for mixer in mixers if mixer.window is not None), default=None)


def needle(
    lm: LM,
    *,
    seed: int = 0,
    count: int = ITEMS,
    sequences: int = SEQUENCES,
    on_done: Callable[[int], object] | None = None,
) -> Grid:
    """The grid of `lengths` and `DISTANCES`, `count` items in each cell. `on_done` is told how many tokens of `work`
    are done. Raises `UserError` for a model that cannot hold a conversation."""
    local = window(lm)
    cells: list[Cell] = []
    behind = 0
    for length in lengths(lm):
        for share in DISTANCES:
            questions = list(_questions(lm, seed, count, length, share))

            def told(done: int, before: int = behind, length: int = length) -> None:
                if on_done is not None:
                    on_done(before + done * length)

            asked = ask(
                lm,
                [item.messages for item in questions],
                sampling=sampling(MAX_TOKENS),
                sequences=sequences,
                on_done=told,
            )
            cells.append(_cell(lm, length, share, questions, asked, local))
            behind += count * length
    return Grid(cells=tuple(cells), window=local)


def _cell(
    lm: LM, length: int, share: float, questions: Sequence[Item], asked: Sequence[Asked], local: int | None
) -> Cell:
    scores = [
        retrieval.judge(item, one.text).score if one.answer else 0.0 for item, one in zip(questions, asked, strict=True)
    ]
    distances = [_distance(lm, item) for item in questions]
    mean = sum(scores) / len(scores)
    return Cell(
        length=length,
        share=share,
        items=len(questions),
        tokens=sum(len(one.prompt) for one in asked) / len(asked),
        distance=sum(distances) / len(distances),
        beyond=local is not None and min(distances) > local,
        score=mean,
        interval=wilson(mean, len(scores)),
    )


def _questions(lm: LM, seed: int, count: int, length: int, share: float) -> Iterator[Item]:
    """Items of one cell: the task's own text, as long as may be, and sentences around it."""
    generator = random.Random(f"needle {seed} {length} {share}")
    for _ in range(count):
        size = retrieval.LONGEST
        while True:
            asked = partial(retrieval.question, "needle", words=size, back=round(share * size))
            item = split.draw(asked, "test", generator)
            tokens = len(prompt(lm, item.messages))
            if tokens <= length or size == retrieval.SHORTEST:
                break
            size = max(retrieval.SHORTEST, min(round(0.95 * size), round(size * (length - _FRAME) / tokens)))
        yield _padded(lm, item, generator, length, share)


def _padded(lm: LM, item: Item, generator: random.Random, length: int, share: float) -> Item:
    """The item with sentences around its text until the prompt has nearly `length` tokens."""
    assert lm.tokenizer is not None, "a prompt was made"
    missing = length - len(prompt(lm, item.messages))
    behind = round(share * length) - _distance(lm, item)
    text, _, asked = item.messages[-1].text.rpartition("\n")
    opening, _, text = text.rpartition("\n")
    before: list[str] = []
    after: list[str] = []
    while True:
        sentence = words.sentence(generator).capitalize() + "."
        size = len(lm.tokenizer.encode(" " + sentence))
        if size > missing:
            break
        missing -= size
        (after if behind >= size else before).append(sentence)
        behind -= size if behind >= size else 0
    lines = (opening, " ".join([*before, text, *after]), asked)
    return replace(item, messages=(Message("user", "\n".join(filter(None, lines))),))


def _distance(lm: LM, item: Item) -> int:
    """Tokens of the question's text behind the value that it asks for."""
    text = item.messages[-1].text
    end = text.index(item.ideal) + len(item.ideal)
    return len(prompt(lm, item.messages)) - len(prompt(lm, [Message("user", text[:end])]))
