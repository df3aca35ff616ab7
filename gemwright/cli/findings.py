"""What `gemwright data` counts while texts pass, and how it is shown."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gemwright.cli import show

if TYPE_CHECKING:
    from gemwright.data.filters import Entry, Filters
    from gemwright.data.report import Report
    from gemwright.text.tokenizer import Tokenizer

_LINE = 10.0  # seconds between lines of progress where there is no terminal
_OFTEN = 0.1  # seconds between looks of a terminal


class Counts:
    """Sizes of what passes: `tokens`, and the `longest` text by its bytes and name."""

    def __init__(self, tokenizer: Tokenizer | None, soft: Callable[[], int]) -> None:
        """`soft` tells how many tokens a picture takes; it is asked when there is one."""
        self._tokenizer, self._soft = tokenizer, soft
        self.tokens = 0
        self.longest: tuple[int, str] | None = None

    def passed(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """`entries`, counted."""
        from gemwright.data.documents import size

        for entry in entries:
            if self.longest is None or size(entry) > self.longest[0]:
                self.longest = size(entry), entry.name
            if self._tokenizer is not None:
                self.tokens += _tokens(entry, self._tokenizer, self._soft)
            yield entry

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON values; `tokens` is null without a tokenizer."""
        longest = {"bytes": self.longest[0], "name": self.longest[1]} if self.longest else None
        return {"tokens": self.tokens if self._tokenizer is not None else None, "longest": longest}

    def print(self, read: Report) -> None:
        """Two lines for a person."""
        counts = ((read.documents, "documents"), (read.conversations, "conversations"))
        parts = [f"{show.number(count)} {word if count != 1 else word[:-1]}" for count, word in counts if count]
        if self._tokenizer is not None:
            parts.append(f"{show.number(self.tokens)} tokens")
        print(", ".join([*(parts or ["nothing"]), show.size(read.bytes)]))
        if self.longest:
            print(f"longest: {self.longest[1]}, {show.size(self.longest[0])}")


def _tokens(entry: Entry, tokenizer: Tokenizer, soft: Callable[[], int]) -> int:
    """Tokens of a text, or of a conversation with its turn marks and pictures."""
    from gemwright.data.documents import Document
    from gemwright.text.turns import render

    if isinstance(entry, Document):
        return len(tokenizer.encode(entry.text))
    of_a_picture = soft() if entry.keys else None
    return len(render(entry.messages, tokenizer, add_generation_prompt=False, soft=of_a_picture).ids)


def tree(read: Report, filters: Filters) -> dict[str, Any]:
    """What was read, what was kept, and the personal data, as JSON values."""
    return {"read": read.to_json(), "kept": filters.report.to_json(), "personal": asdict(filters.tally)}


def print_findings(read: Report, filters: Filters) -> None:
    """A table of what was found, with the first few names of each kind."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows: list[tuple[str, int, list[str]]] = []
    for report in (read, filters.report):
        rows += [(reason, count, report.examples[reason]) for reason, count in report.dropped.items()]
    tally = filters.tally
    rows += [(f"personal: {kind}", count, tally.examples[kind]) for kind, count in sorted(tally.counts.items())]
    if not rows:
        print("nothing to drop")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("found")
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("first", overflow="fold")
    for what, count, names in rows:
        table.add_row(what, show.number(count), Text(", ".join(names)))
    show.console().print(table)


class Progress:
    """How far the reading has come, on stderr: a status on a terminal, else a line now and then."""

    def __init__(self, filters: Filters) -> None:
        self._report = filters.report
        self._status: Any = None
        self._read = 0

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            self._status = show.console(stderr=True).status("[dim]reading[/dim]")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def passed(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """`entries`, with a word about them now and then."""
        wait = _LINE if self._status is None else _OFTEN
        last = time.monotonic()
        for entry in entries:
            self._read += 1
            if time.monotonic() - last >= wait:
                last = time.monotonic()
                self._show()
            yield entry

    def _show(self) -> None:
        kept = self._report.documents + self._report.conversations
        said = f"{show.number(self._read)} texts read, {show.number(kept)} kept"
        if self._status is not None:
            self._status.update(f"[dim]{said}[/dim]")
        else:
            print(said, file=sys.stderr, flush=True)
