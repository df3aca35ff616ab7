"""Who guesses what comes next, and what it knows of the engine that it works for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gemwright.engine.progress import Progress
from gemwright.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Ids that may come next. `grade`: what kind of guess it is; each kind's success is counted apart."""

    ids: tuple[int, ...]
    grade: int = 0


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The engine's tokenizer, the rows of its model's table, the ids of a sequence (None: no limit), the requests that
    run at once, the prompt tokens of one step, the tokens that its cache takes back, and the ids that are never drawn.
    """

    tokenizer: Tokenizer | None
    vocab: int
    context: int | None
    sequences: int
    chunk: int
    slack: int
    banned: tuple[int, ...]


class Proposer(Protocol):
    """Guesses what comes next. It may guess wrong: answers do not depend on it.

    `free`: asking takes no time worth counting, so it may always be asked. `seconds`: else, what one more id for each
    of the requests takes, as far as it was measured.
    """

    free: bool
    seconds: float

    def cache_bytes(self, tokens: int | None, sequences: int) -> int:
        """Bytes of the memory of its own that it will ask for, for so many requests of so many tokens (None: no
        limit)."""
        ...

    def begin(self, facts: Facts) -> None:
        """Called once, before anything else. Raises `UserError` for an engine that it cannot work for."""
        ...

    def propose(self, wanted: Sequence[tuple[Progress, int]]) -> list[Proposal]:
        """For each request, ids that may come after its own: as many as asked, or fewer."""
        ...

    def forget(self, key: int) -> None:
        """The request of that number has ended; it may never have been asked for."""
        ...
