"""The filters of a text corpus as a stage: personal data, duplicates, texts of evaluation sets.

Personal data comes first: a text that holds any is dropped, masked or kept as it is. Then a text goes, in this order,
for being the same as one that was kept, for meeting an evaluation item (in its form before masking), and for being
nearly the same as one that was kept. So the first of several similar texts stays, and what was dropped makes no
duplicates. A conversation is judged by all its messages and masked message by message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from gemwright.data import personal
from gemwright.data.decontaminate import Evaluations
from gemwright.data.documents import Conversation, Document, size
from gemwright.data.duplicates import Exact, Near
from gemwright.data.report import EXAMPLES, Report
from gemwright.data.shingles import word_hashes

Entry = Document | Conversation
Policy = Literal["drop", "mask", "keep"]  # what becomes of a text that holds personal data

PERSONAL, EXACT, NEAR, CONTAMINATED = "personal data", "exact duplicate", "near duplicate", "contaminated"


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Why the text called `name` was dropped: the `reason`, and the text or evaluation item that it is like, or the
    kinds of personal data in it; "" where the reason says all."""

    name: str
    reason: str
    like: str = ""


@dataclass(kw_only=True)
class Tally:
    """Personal data that was found: `counts` and the names of the first texts (`examples`) by kind, and in how many
    `texts` there was any."""

    texts: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, kinds: Iterable[str]) -> None:
        """What was found in one text, a kind for each finding."""
        self.texts += 1
        for kind in kinds:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            examples = self.examples.setdefault(kind, [])
            if len(examples) < EXAMPLES and name not in examples:
                examples.append(name)


class Filters:
    """One run of the filters over a stream of texts. Memory holds hashes and names, never the texts.

    `policy`: what becomes of personal data. `near`: the Jaccard similarity from which texts are near duplicates, 0 to
    leave them be (a conversation with pictures is none: few words say what it is about). `seed` decides the signatures
    by which near duplicates are found. `report` counts what is kept and what is dropped, `tally` the personal data.

    Raises `UserError` where near duplicates are asked for and datasketch is not installed.
    """

    def __init__(self, *, policy: Policy, near: float, evaluations: Evaluations | None = None, seed: int = 1) -> None:
        self.report, self.tally = Report(), Tally()
        self._policy = policy
        self._evaluations = evaluations
        self._exact = Exact()
        self._near = Near(near, seed=seed) if near else None

    def kept(self, entries: Iterable[Entry], dropped: Callable[[Dropped], None] | None = None) -> Iterator[Entry]:
        """Those of `entries` that stay, masked where that was asked for; `dropped` is told of the others."""
        for entry in entries:
            stays = self._look(entry)
            if isinstance(stays, Dropped):
                self.report.drop(stays.reason, stays.name)
                if dropped is not None:
                    dropped(stays)
                continue
            if isinstance(stays, Document):
                self.report.documents += 1
            else:
                self.report.conversations += 1
            self.report.bytes += size(stays)
            yield stays

    def _look(self, entry: Entry) -> Entry | Dropped:
        cleaned, kinds = _cleaned(entry)
        if kinds:
            self.tally.add(entry.name, kinds)
            if self._policy == "drop":
                return Dropped(name=entry.name, reason=PERSONAL, like=", ".join(sorted(set(kinds))))
        stays = cleaned if self._policy == "mask" else entry
        keys = () if isinstance(stays, Document) else stays.keys
        text = text_of(stays)
        same = "\n".join([text, *keys])  # the same words about another picture are another text
        if (like := self._exact.of(same)) is not None:
            return Dropped(name=entry.name, reason=EXACT, like=like)
        hashes = word_hashes(text)
        if self._evaluations is not None:
            whole = hashes if stays is entry else word_hashes(text_of(entry))
            if (like := self._evaluations.met(whole)) is not None:
                return Dropped(name=entry.name, reason=CONTAMINATED, like=like)
        if self._near is not None and not keys and (like := self._near.of(entry.name, hashes)) is not None:
            return Dropped(name=entry.name, reason=NEAR, like=like)
        self._exact.add(entry.name, same)
        return stays


def text_of(entry: Entry) -> str:
    """The text of a document, or of all messages of a conversation, a line break between them."""
    return entry.text if isinstance(entry, Document) else "\n".join(message.text for message in entry.messages)


def _cleaned(entry: Entry) -> tuple[Entry, list[str]]:
    """The entry with its personal data masked (itself, where there is none), and the kind of each finding."""
    texts = [entry.text] if isinstance(entry, Document) else [message.text for message in entry.messages]
    found = [personal.find(text) for text in texts]
    kinds = [one.kind for part in found for one in part]
    if not kinds:
        return entry, []
    texts = [personal.masked(text, part) for text, part in zip(texts, found, strict=True)]
    if isinstance(entry, Document):
        return replace(entry, text=texts[0]), kinds
    messages = tuple(replace(said, text=text) for said, text in zip(entry.messages, texts, strict=True))
    return replace(entry, messages=messages), kinds
