"""What a reading kept and what it dropped, and why: nothing disappears without a line here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

EXAMPLES = 5  # names that are kept of each reason


@dataclass(kw_only=True)
class Report:
    """Counts of one stage. Kept: `documents`, `conversations`, and the `bytes` of their texts in UTF-8. Dropped: how
    many for each reason, and as `examples` the names of the first few, `file#line` or `file#row`."""

    documents: int = 0
    conversations: int = 0
    bytes: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def drop(self, reason: str, name: str) -> None:
        """One less, because of `reason`."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append(name)

    def sentences(self) -> list[str]:
        """A line for a person about each reason for which something was dropped, the most frequent first."""
        kept = self.documents + self.conversations
        ordered = sorted(self.dropped.items(), key=lambda item: (-item[1], item[0]))
        return [
            f"dropped {count} of {kept + sum(self.dropped.values())} as {reason}: {self._names(reason)}"
            for reason, count in ordered
        ]

    def _names(self, reason: str) -> str:
        more = self.dropped[reason] - len(self.examples[reason])
        return ", ".join(self.examples[reason]) + (f" and {more} more" if more else "")

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)
