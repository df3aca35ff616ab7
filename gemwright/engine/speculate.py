"""Speculation: ids that may come next are run together with the one that must, and those that come true are kept.

A step reads all weights for however few rows, so a few rows more cost little. A proposer guesses ids; the step runs
them after the pending one; then each row's token is drawn exactly as plain decoding draws it, by the uniform number of
its own place, and the guesses stand as far as they are what was drawn. So the text is that of plain decoding, greedy or
sampled, under penalties, grammars and stop strings, for every seed. (Rejection sampling against a draft model's
distribution would accept a little more; that a seed means one text, with and without speculation, is worth more.)

How many guesses to run is a matter of measured time. A running line through the latest steps says what a row takes; a
running share says how often a request's guesses come true. A guess at depth d is worth its row where the d-th power of
that share, the tokens that it can be expected to bring, is more than its time would bring otherwise. With many requests
in a step a row takes a larger part of it, and fewer are worth it; a request whose guesses fail gets none. Free guesses
go on being compared with what is drawn, so that they are run again once they would have come true; a proposer that
takes time is tried again after some tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gemwright.engine.draft import Draft
from gemwright.engine.drawing import Drawn, agreeing
from gemwright.engine.lookup import Lookup
from gemwright.engine.progress import Progress
from gemwright.engine.proposer import Facts, Proposal, Proposer
from gemwright.engine.schedule import Part
from gemwright.engine.worth import Chance, Cost, worth
from gemwright.nn.decoder import Decoder
from gemwright.planner.guesses import ROWS, bit_equal

_REST = 64  # tokens after which a proposer that takes time is tried again


def chosen(wanted: str, model: Decoder, draft: Decoder | None) -> Proposer | None:
    """What guesses for a model: the draft where there is one, else looking up as one of `guesses.SPECULATE` says;
    "auto" looks up where no text can change by it."""
    if draft is not None:
        return Draft(draft)
    return Lookup() if wanted == "lookup" or (wanted == "auto" and bit_equal(model)) else None


@dataclass
class _Record:
    """What is known of one request: the chances of its guesses by kind, and how many tokens it had when a proposer
    that takes time was last asked."""

    chances: dict[int, Chance] = field(default_factory=dict)
    asked: int = 0

    def share(self, grade: int) -> float:
        return self.chances.get(grade, Chance()).share


class Speculation:
    """Decides for each step which guesses are run, and learns from what came of them."""

    def __init__(self, proposer: Proposer, facts: Facts) -> None:
        """Raises `UserError` where the proposer cannot work for this engine."""
        proposer.begin(facts)
        self.proposer = proposer
        self.cost = Cost()
        self._slack, self._vocab, self._banned = facts.slack, facts.vocab, frozenset(facts.banned)
        self._records: dict[int, _Record] = {}
        self._offers: dict[int, Proposal] = {}  # of the step under way, those included that are not run

    def propose(self, members: Sequence[tuple[Progress, Part]]) -> list[tuple[int, ...]]:
        """The ids to run after each member's part of a step that reads no prompt; often none."""
        self._offers = {}
        asked = [(progress, room) for progress, part in members if (room := self._room(progress, part)) > 0]
        size = {"drawing": sum(part.last for _, part in members), "rows": sum(part.count for _, part in members)}
        if not asked:
            return [()] * len(members)
        found = self._heard(asked, **size) if self.proposer.free else self._asked(asked, **size)
        return [found.get(progress.key, ()) for progress, _ in members]

    def learn(self, drawn: Mapping[int, Drawn], rows: int, seconds: float) -> None:
        """What a step of so many rows drew for its requests, by number, and its time without that of its proposer. A
        guess that was not run counts too, where all before it came true."""
        self.cost.add(rows, seconds)
        for key, offer in self._offers.items():
            if key in drawn:
                ids = [id for id, _ in drawn[key].tokens]
                true = agreeing(ids, offer.ids)
                wrong = true < min(len(ids), len(offer.ids))
                self._record(key).chances.setdefault(offer.grade, Chance()).add(true, int(wrong))
        self._offers = {}

    def forget(self, key: int) -> None:
        """The request has ended."""
        self._records.pop(key, None)
        self.proposer.forget(key)

    def _room(self, progress: Progress, part: Part) -> int:
        """How many ids may be run ahead: what the cache can take back, even after a step that never ended, and no more
        than the answer can have."""
        return min(self._slack + 1 - part.count, progress.room - 1) if part.last else 0

    def _heard(self, asked: list[tuple[Progress, int]], *, drawing: int, rows: int) -> dict[int, tuple[int, ...]]:
        """All that a free proposer has to say is heard; what is worth its rows is run."""
        for (progress, _), proposal in zip(asked, self.proposer.propose(asked), strict=True):
            self._offer(progress.key, proposal)
        offers = [(len(offer.ids), self._record(key).share(offer.grade)) for key, offer in self._offers.items()]
        counts = worth(offers, drawing=drawing, rows=rows, cost=self.cost, most=ROWS)
        return {key: offer.ids[:count] for (key, offer), count in zip(self._offers.items(), counts, strict=True)}

    def _asked(self, asked: list[tuple[Progress, int]], *, drawing: int, rows: int) -> dict[int, tuple[int, ...]]:
        """A proposer that takes time is asked for what would be worth it, and now and then for one id where nothing
        would."""
        records = [self._record(progress.key) for progress, _ in asked]
        offers = [(room, record.share(0)) for record, (_, room) in zip(records, asked, strict=True)]
        size = {"drawing": drawing, "rows": rows, "most": ROWS}
        wanted: list[tuple[Progress, int]] = []
        counts = worth(offers, cost=self.cost, extra=self.proposer.seconds, **size)
        for (progress, _), record, count in zip(asked, records, counts, strict=True):
            if count or progress.drawn - record.asked >= _REST:
                record.asked = progress.drawn
                wanted.append((progress, max(1, count)))
        found = self.proposer.propose(wanted) if wanted else []
        for (progress, _), proposal in zip(wanted, found, strict=True):
            self._offer(progress.key, proposal)
        return {key: offer.ids for key, offer in self._offers.items()}

    def _offer(self, key: int, proposal: Proposal) -> None:
        """Keeps a proposal, up to the first id that can never be drawn: the table may have no row for it."""
        ids = proposal.ids
        wrong = (at for at, id in enumerate(ids) if id >= self._vocab or id in self._banned)
        if ids := ids[: next(wrong, len(ids))]:
            self._offers[key] = Proposal(ids=ids, grade=proposal.grade if self.proposer.free else 0)

    def _record(self, key: int) -> _Record:
        return self._records.setdefault(key, _Record())
