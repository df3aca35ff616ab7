"""Where a text ends: stop strings, found across the borders of tokens, and never shown.

The rule does not depend on how the text is cut into pieces: the text ends at the stop string that is complete first;
of two that are complete at the same character, the one that began earlier counts.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Watches a text that arrives in pieces.

    What may still become a stop string is held back; what `push` returns can be shown. Once one is `found`, nothing
    more comes.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """`stops`: non-empty strings, possibly none."""
        if not all(stops):
            raise ValueError("a stop string cannot be empty")
        self._stops = tuple(dict.fromkeys(stops))
        self._held = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        """The part of the text that may be shown now that `text` has come."""
        if self.found is not None:
            return ""
        text = self._held + text
        begin = self._first(text)
        if begin is not None:
            self._held = ""
            return text[:begin]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What is still held back, at the end of the text: it became no stop string."""
        text, self._held = self._held, ""
        return text

    def _first(self, text: str) -> int | None:
        """Where the stop string begins that is complete first; None if there is none. Sets `found`."""
        best: tuple[int, int] | None = None
        for stop in self._stops:
            begin = text.find(stop)
            if begin >= 0 and (best is None or (begin + len(stop), begin) < best):
                best, self.found = (begin + len(stop), begin), stop
        return None if best is None else best[1]


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that is a beginning of `stop`, but not the whole of it."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
