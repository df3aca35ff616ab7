"""What comes next in an answer, drawn row by row: one token, those that a grammar forces after it, and on through rows
that were run ahead on proposed ids, as long as these come true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gemwright.cache.allocate import Step
from gemwright.engine import sampling as draw
from gemwright.engine.progress import Progress
from gemwright.engine.request import TokenLogprob
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.head import Head
from gemwright.ops.addends import Chosen


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What one step gives a request: tokens to take, in order, of which the first `true` were proposed; and why no more
    could be drawn, if that is so."""

    tokens: tuple[tuple[int, TokenLogprob | None], ...]
    true: int
    error: UserError | None

    @property
    def kept(self) -> int:
        """Proposed ids that the cache may keep: the last token drawn is always run in the next step."""
        return max(0, min(self.true, len(self.tokens) - 1))


class Ready(NamedTuple):
    """A request for which a step draws, the ids that are run ahead of its own, and where its rows end in the step."""

    progress: Progress
    ahead: tuple[int, ...]
    end: int


def run(
    model: Decoder,
    ids: Sequence[int],
    step: Step,
    ready: Sequence[Ready],
    *,
    soft: Tensor | None,
    adapters: Chosen | None,
    banned: Tensor,
) -> list[Drawn]:
    """Runs a step, `ids` its tokens in order, `soft` what its pictures were made into and `adapters` those of its rows,
    and draws for those that are ready. `banned`: ids that are never drawn. Nothing counts before the step is
    committed."""
    device = model.device
    wanted = [row for one in ready for row in range(one.end - 1 - len(one.ahead), one.end)]
    rows = torch.tensor(wanted, dtype=torch.int64, device=device)

    def logits_of(hidden: Tensor, head: Head) -> Sequence[Tensor]:
        return head.logits(hidden).split([1 + len(one.ahead) for one in ready]) if ready else ()

    with torch.inference_mode():
        tokens = torch.tensor(ids, dtype=torch.int64, device=device)
        logits = model(tokens, step.span, memory=step, use=logits_of, soft=soft, adapters=adapters, rows=rows)
        return [follow(one.progress, own, one.ahead, banned) for one, own in zip(ready, logits, strict=True)]


class Line:
    """A request's answer as it would go on: ids that were drawn for it and not taken yet.

    Each is drawn as if the ones before it had been taken: by the uniform number of its own place, with their penalty,
    after them in the grammar. So it does not show how many rows one step had.
    """

    def __init__(self, progress: Progress, banned: Tensor, *, report: bool = True) -> None:
        """`banned`: ids that are never drawn; `report`: with log-probabilities where the request wants them."""
        self.ids: list[int] = []
        self.logprobs: list[TokenLogprob | None] = []
        self.over = False  # nothing comes after these ids; a stop string may end the answer sooner
        self.error: UserError | None = None
        self._progress, self._banned, self._report = progress, banned, report
        constraint = progress.constraint
        self._constraint = None if constraint is None else constraint.copy()
        if self._constraint is not None:  # after an interruption it may be one behind
            for id in progress.ids[progress.prompt + self._constraint.taken :]:
                self._constraint.take(id)

    def draw(self, logits: Tensor) -> None:
        """The next id from its row of logits, float32 `[V]`, and those that the grammar leaves no choice about; or
        `error`."""
        progress, chosen = self._progress, self._progress.sampling
        number = draw.uniform(progress.seed, progress.drawn + len(self.ids))
        seen = () if chosen.repetition_penalty == 1.0 else (*progress.ids, *self.ids)
        allowed = logits
        try:
            if self._constraint is not None:
                allowed = logits.clone()  # what is reported is the model's own distribution
                self._constraint.apply(allowed)
            id = draw.pick(allowed, chosen, seen=seen, banned=self._banned, number=number)
        except UserError as error:
            self.error = error
            return
        wanted = chosen.logprobs if self._report else None
        self._add(id, None if wanted is None else draw.logprob(logits, id, wanted))
        if self._constraint is not None and not self.over and chosen.logprobs is None:
            for forced in self._constraint.forced():
                self._add(forced, None)
                if self.over:
                    break

    def _add(self, id: int, logprob: TokenLogprob | None) -> None:
        self.ids.append(id)
        self.logprobs.append(logprob)
        self.over = self._progress.ends(id)
        if self._constraint is not None:
            self._constraint.take(id)
            self.over = self.over or self._constraint.done


def follow(progress: Progress, logits: Tensor, proposed: Sequence[int], banned: Tensor) -> Drawn:
    """What a step gives a request that ran its pending ids and then the proposed ones: `logits` float32 `[1 + P, V]`,
    one row after the last pending id and after each proposed one. `banned`: ids that are never drawn."""
    line = Line(progress, banned)
    while True:
        line.draw(logits[len(line.ids)])
        true = agreeing(line.ids, proposed)
        if line.error is not None or line.over or true < len(line.ids):
            break
    return Drawn(tokens=tuple(zip(line.ids, line.logprobs, strict=True)), true=true, error=line.error)


def agreeing(some: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two lists begin with alike."""
    least = min(len(some), len(other))
    return next((at for at in range(least) if some[at] != other[at]), least)
