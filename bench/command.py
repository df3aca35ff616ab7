"""How the benchmarks of this folder speak: tables to stdout, progress and mistakes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable

from gemwright.errors import UserError


def say(message: str) -> None:
    """A line of progress."""
    print(message, file=sys.stderr, flush=True)


def run(main: Callable[[], None]) -> None:
    """Runs a benchmark; what stops it is told in two lines."""
    try:
        main()
    except UserError as error:
        sys.exit(error.told)
