"""How things are shown: data on stdout, everything else on stderr, sizes in words that people use."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from gemwright.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_FIRST = 30.0  # seconds until work that nobody watches says how far it is
_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


def console(*, stderr: bool = False) -> Console:
    """Rich's console; it knows the width, and whether colours are wanted."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def is_terminal() -> bool:
    """Whether a person looks at stdout."""
    return sys.stdout.isatty()


def complain(kind: str, message: str) -> None:
    """One line on stderr, `error: …` or `hint: …`; a terminal breaks it between words."""
    line = f"{kind}: {' '.join(message.split())}"
    if sys.stderr.isatty():
        from rich.text import Text

        colour = {"error": "bold red", "hint": "bold cyan"}.get(kind, "bold")
        console(stderr=True).print(Text.assemble((f"{kind}:", colour), line[len(kind) + 1 :]))
    else:
        print(line, file=sys.stderr)


def note(message: str) -> None:
    """A remark that is no data."""
    complain("note", message)


def dim(message: str) -> None:
    """A quiet line on stderr."""
    from rich.text import Text

    console(stderr=True).print(Text(message, style="dim"), soft_wrap=not sys.stderr.isatty())


@contextlib.contextmanager
def waiting(message: str) -> Iterator[None]:
    """A turning sign on stderr while the block runs; nothing where nobody looks."""
    if not sys.stderr.isatty():
        yield
        return
    with console(stderr=True).status(f"[dim]{message}[/dim]"):
        yield


@contextlib.contextmanager
def counting(message: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr while the block runs, which tells it how much of `total` is done; in a file a line after half a
    minute, and then whenever twice the time has passed."""
    if not sys.stderr.isatty():
        yield _lines(message, total)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(message, total=total)
        yield lambda done: bar.update(task, completed=done)


def _lines(message: str, total: int) -> Callable[[int], None]:
    """Hears how much of `total` is done, and says now and then how long the rest will take."""
    began, due = time.monotonic(), _FIRST

    def told(done: int) -> None:
        nonlocal due
        spent = time.monotonic() - began
        if spent < due or not 0 < done < total:
            return
        due = 2 * spent
        left = spent * (total - done) / done
        note(f"{message}: {number(done)} of {number(total)} in {_minutes(spent)}, about {_minutes(left)} left")

    return told


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def as_json(tree: Any) -> None:
    """One JSON value on stdout; infinities, which JSON lacks, as null."""
    print(json.dumps(_finite(tree), ensure_ascii=False, indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def stream(text: str) -> None:
    """A part of a text on stdout, at once. On a terminal control characters of a model are shown, not obeyed."""
    sys.stdout.write(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text) if is_terminal() else text)
    sys.stdout.flush()


def size(count: float) -> str:
    """Bytes as people read them, in powers of 1000: `1.23 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def number(count: int) -> str:
    """A whole number with thin groups: `262,144`."""
    return f"{count:,}"


def read_size(text: str) -> int:
    """`8G` → bytes, in powers of 1024; raises `UserError` for what is no size."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if found is None:
        raise UserError(f"{text!r} is no size of memory", hint="write 8G, 900M or a number of bytes")
    return int(float(found[1]) * 2 ** _UNITS[found[2].upper()]) if found[2] else int(float(found[1]))
