"""What a model that knows nothing learns first: to say again what was said, and to find what belongs to a word.

All that later skills share is in these two, and among other texts they take many times as many tokens to be learnt
(docs/log.md). So they come first and alone, short, and as conversations: only what can be known is learnt from, and the
words that nobody could foretell stand in the user's turn.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from gemwright.tasks import words
from gemwright.text.turns import Message

_SAY = ("Repeat: {}", "Say this: {}", "Copy: {}", "{}", "Write {}.", "Please say {}.", "Say it again: {}")
_MARKS = (" ", " ", ", ")
_PAIRS = ("{}: {}", "{} {}", "{} = {}", "{} is {}")
_BETWEEN = (", ", "\n", "; ", ". ")
_MOST_ASKED = 4

Conversation = tuple[Message, ...]


def copy(generator: random.Random, pool: Sequence[str], most: int) -> Conversation:
    """Up to `most` words or numbers, short rows more often than long ones, and the same again."""
    count = max(1, round((most + 0.5) ** generator.random()))
    numbers = generator.choice((0.0, 0.4, 1.0, 1.0))
    text = generator.choice(_MARKS).join(_word(generator, pool, numbers) for _ in range(count))
    return (Message("user", generator.choice(_SAY).format(text)), Message("model", text))


def pairs(generator: random.Random, pool: Sequence[str], most: int) -> Conversation:
    """Up to `most` words with a number or a word for each, and then some of the first for what belongs to them."""
    keys = generator.sample(generator.choice((pool, words.NOUNS)), generator.randint(1, most))
    numbers = float(generator.random() < 0.6)
    told = [(key, _word(generator, pool, numbers)) for key in keys]
    form = generator.choice(_PAIRS)
    text = generator.choice(_BETWEEN).join(form.format(*pair) for pair in told)
    asked = generator.sample(told, min(len(told), generator.randint(1, _MOST_ASKED)))
    turns = [(Message("user", f"{key}?"), Message("model", value)) for key, value in asked]
    first = Message("user", f"{text}\n{asked[0][0]}?")
    return (first, turns[0][1], *(message for turn in turns[1:] for message in turn))


def ends(generator: random.Random, pool: Sequence[str]) -> Conversation:
    """The first or the last of a few words or numbers."""
    numbers = float(generator.random() < 0.5)
    row = [_word(generator, pool, numbers) for _ in range(generator.randint(2, 6))]
    which, answer = generator.choice((("first", row[0]), ("last", row[-1])))
    return (Message("user", f"{which}: {' '.join(row)}"), Message("model", answer))


def _word(generator: random.Random, pool: Sequence[str], numbers: float) -> str:
    """A word, or as often as `numbers` says a number of one to four digits."""
    if generator.random() < numbers:
        return str(generator.randrange(10 ** generator.randint(1, 4)))
    return generator.choice(pool)
