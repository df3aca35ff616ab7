"""A draft model: a smaller one of the same tokenizer goes on from the same ids, and what it draws is proposed.

It draws as the engine does, with the request's own sampling, grammar and uniform numbers: where the two models agree on
what is likely, they draw the same token. It has a cache of its own, with a place for each running request; what it ran
ahead and did not come true is taken back there too. A place that a request leaves is kept until another one wants it:
the next turn of a conversation goes on from it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from gemwright.cache.allocate import Cache, allocate
from gemwright.cache.store import CacheFull, Handle
from gemwright.engine.drawing import Line, agreeing
from gemwright.engine.progress import Progress
from gemwright.engine.proposer import Facts, Proposal
from gemwright.engine.room import capacity, choose_context
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.text.tokenizer import Tokenizer

_LATEST = 0.1  # how much the latest round counts in the time of a round
_ROUND = 2  # ids of each request in a round whose time is counted


def check_vocabularies(target: Tokenizer | None, draft: Tokenizer | None) -> None:
    """Raises `UserError` unless both have the same pieces under the ids that both have. Where one has no tokenizer,
    nothing is known, and nothing is refused."""
    if target is None or draft is None:
        return
    for id in range(min(target.vocab_size, draft.vocab_size)):
        mine, theirs = target.piece(id), draft.piece(id)
        if mine != theirs:
            raise UserError(
                f"the draft model has another tokenizer: id {id} is {theirs!r} there and {mine!r} here",
                hint="take a smaller model of the same generation, or --speculate lookup, which needs none",
            )


@dataclass(eq=False, kw_only=True)
class _Seat:
    """A request's place in the draft's cache. It holds, as far as it goes, the first `known` of the request's `ids`,
    which only grow, and then `ahead`, which the draft drew after them."""

    handle: Handle
    ids: list[int]
    known: int = 0
    ahead: list[int] = field(default_factory=list)

    @property
    def held(self) -> list[int]:
        return (self.ids[: self.known] + self.ahead)[: self.handle.length]


@dataclass(eq=False, kw_only=True)
class _Run:
    """A request whose draft goes on: ids that the draft runs next, and how many it is to draw."""

    seat: _Seat
    line: Line
    next: list[int]
    count: int


class Draft:
    """Proposes what a second model draws. Requests with pictures, and those longer than the draft's context, get no
    proposals."""

    free = False

    def __init__(self, model: Decoder, tokenizer: Tokenizer | None = None) -> None:
        """`model` on any device, its memory is allocated when an engine begins with it; `tokenizer`: its own."""
        self.seconds = 0.0
        self._model, self._tokenizer = model, tokenizer
        self._seats: dict[int, _Seat] = {}
        self._left: list[_Seat] = []  # of requests that have ended, the latest last

    def cache_bytes(self, tokens: int | None, sequences: int) -> int:
        """Of the draft's cache, which has no more tokens of a request than the draft was made for."""
        spec = self._model.spec
        most = min((limit for limit in (tokens, spec.context) if limit is not None), default=None)
        size = {"sequences": sequences, "tokens": capacity(spec, most), "dtype": self._model.dtype}
        return sum(allocate(spec, **size, device="meta").bytes().values())

    def begin(self, facts: Facts) -> None:
        """Allocates the draft's cache, for the engine's requests. Raises `UserError` for another tokenizer."""
        check_vocabularies(facts.tokenizer, self._tokenizer)
        model = self._model
        place = {"dtype": model.dtype, "device": model.device}
        most = [limit for limit in (facts.context, model.spec.context) if limit is not None]
        context = choose_context(model.spec, min(most, default=None), sequences=facts.sequences, **place)
        self._cache: Cache = allocate(
            model.spec, sequences=facts.sequences, tokens=capacity(model.spec, context), slack=facts.slack, **place
        )
        self._chunk, self._vocab = facts.chunk, facts.vocab
        self._banned = torch.tensor(facts.banned, dtype=torch.int64, device=model.device)

    def propose(self, wanted: Sequence[tuple[Progress, int]]) -> list[Proposal]:
        """Goes on from each request's ids, all together. Reads at most as many new ids as a step of the engine: a long
        prompt is read over several calls, which propose nothing yet."""
        keys = {progress.key for progress, _ in wanted}
        runs: dict[int, _Run] = {}
        budget = self._chunk
        for progress, count in wanted:
            limit = self._cache.limit
            if not budget or progress.images or (limit is not None and len(progress.ids) + count > limit):
                continue
            seat = self._seat(progress, keys)
            pending = progress.ids[seat.handle.length :]
            if max(pending) >= self._model.spec.vocab:
                continue
            if len(pending) > budget:
                self._forward([seat], [pending[:budget]])
                budget = 0
                continue
            budget -= len(pending)
            line = Line(progress, self._banned, report=False)
            runs[progress.key] = _Run(seat=seat, line=line, next=pending, count=count)
        self._go_on(list(runs.values()))
        drawn = {key: run.line.ids[: run.count] for key, run in runs.items()}
        return [Proposal(ids=tuple(drawn.get(progress.key, ()))) for progress, _ in wanted]

    def forget(self, key: int) -> None:
        """The request's place is there for others."""
        if seat := self._seats.pop(key, None):
            self._left.append(seat)

    def _go_on(self, active: list[_Run]) -> None:
        """Rounds of one step each, until every line has its ids."""
        while active:
            began, size = time.perf_counter(), max(len(run.next) for run in active)
            logits = self._forward([run.seat for run in active], [run.next for run in active])
            left = []
            for run, row in zip(active, logits, strict=True):
                before = len(run.line.ids)
                run.line.draw(self._fitted(row))
                run.seat.ahead = list(run.line.ids)
                run.next = run.line.ids[before:]
                if len(run.line.ids) < run.count and not run.line.over and run.line.error is None:
                    left.append(run)
            if size <= _ROUND:  # else it read a prompt, or forced ids
                taken = time.perf_counter() - began
                self.seconds += (taken - self.seconds) * (_LATEST if self.seconds else 1.0)
            active = left

    def _forward(self, seats: Sequence[_Seat], parts: Sequence[Sequence[int]]) -> Tensor:
        """Runs the next ids of each, and remembers them. Logits of the last one of each, float32 `[B, V]`."""
        ids = [id for part in parts for id in part]
        step = self._cache.prepare([seat.handle for seat in seats], [len(part) for part in parts])
        device = self._model.device
        ends = torch.tensor([len(part) for part in parts]).cumsum(0).to(device) - 1
        with torch.inference_mode():
            tokens = torch.tensor(ids, dtype=torch.int64, device=device)
            logits = self._model(
                tokens, step.span, memory=step, use=lambda hidden, head: head.logits(hidden), rows=ends
            )
        step.commit()
        return logits

    def _fitted(self, row: Tensor) -> Tensor:
        """A row of the draft's logits as one of the engine's: tables may have more or fewer rows of padding."""
        missing = self._vocab - len(row)
        return row[: self._vocab] if missing <= 0 else F.pad(row, (0, missing), value=float("-inf"))

    def _seat(self, progress: Progress, keys: set[int]) -> _Seat:
        """The request's place, which holds a beginning of its ids and leaves at least the last one to run."""
        seat = self._seats.get(progress.key)
        if seat is not None and not self._cache.intact(seat.handle):
            self._cache.free(self._seats.pop(progress.key).handle)
            seat = None
        if seat is None:
            seat = self._seats[progress.key] = self._take_up(progress.ids, keys)
        handle = seat.handle
        true = agreeing(seat.ahead, progress.ids[seat.known :])
        keep = min(handle.length, seat.known + true, len(progress.ids) - 1)
        if not self._cache.can_roll_back(handle, handle.length - keep):
            keep = 0
        self._cache.rollback(handle, handle.length - keep)
        seat.known, seat.ahead = len(progress.ids), []
        return seat

    def _take_up(self, ids: list[int], keys: set[int]) -> _Seat:
        """The place, of those that were left, that holds most of these ids; or an empty one."""
        best, most = None, 0
        for seat in self._left:
            keep = min(agreeing(seat.held, ids), len(ids) - 1)
            if keep > most and self._cache.can_roll_back(seat.handle, seat.handle.length - keep):
                best, most = seat, keep
        if best is not None:
            self._left.remove(best)
            return _Seat(handle=best.handle, ids=ids, known=most)
        while True:
            try:
                return _Seat(handle=self._cache.open(), ids=ids)
            except CacheFull:  # the one that was left first goes, or that of a request which is not asked for now
                old = self._left or [self._seats[key] for key in self._seats if key not in keys]
                self._cache.free(old[0].handle)
                self._left = [seat for seat in self._left if seat is not old[0]]
                self._seats = {key: seat for key, seat in self._seats.items() if seat is not old[0]}
