"""A request on its way: its ids, its place in the cache, its text so far. And the place that a conversation keeps."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from gemwright.engine.constrain import Constraint
from gemwright.engine.request import Completion, Event, FinishReason, PromptImage, Sampling, TokenLogprob, Usage
from gemwright.engine.stop import StopStrings
from gemwright.nn.adapters import Held
from gemwright.text.stream import TextStream
from gemwright.text.tokenizer import Tokenizer

_ENDLESS = 8192  # tokens of an answer where neither the request nor a context ends it


class Session:
    """What one conversation leaves in the cache between its requests.

    `ids` are the tokens that the handle remembers, in order, `images` the pictures among them, and `adapter` the
    fingerprint of the adapter that they were read with ("" for none). The engine may take the handle away while the
    session is idle and places run short; the next request then reads its whole prompt again, with the same result.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.images: tuple[PromptImage, ...] = ()
        self.adapter = ""
        self.handle: Any = None  # of the engine's cache
        self.busy = False


class Progress:
    """One submitted request: what the engine has to know of it between steps."""

    def __init__(
        self,
        key: int,
        ids: list[int],
        sampling: Sampling,
        *,
        context: int | None,
        tokenizer: Tokenizer | None,
        session: Session | None,
        images: Sequence[PromptImage] = (),
        constraint: Constraint | None = None,
        adapter: Held | None = None,
    ) -> None:
        """`sampling` resolved; `context`: ids that the sequence may have, prompt and answer (None: no limit);
        `constraint`: of this answer alone; `adapter`: what every token of it runs with."""
        self.key = key
        self.ids = list(ids)
        self.images = tuple(images)
        self.prompt = len(ids)
        self.sampling = sampling
        self.seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self.session = session
        self.constraint = constraint
        self.adapter = adapter
        self.handle: Any = None
        self.cached = 0
        self.begun = False  # had it a place before?
        self.marked = 0  # tokens at the last snapshot
        self.prefill_seconds = 0.0
        self.decode_seconds = 0.0
        self.proposed = 0  # ids that were run ahead of the answer
        self.accepted = 0  # those of them that came true
        self._ends = frozenset(sampling.stop_ids)
        self._full = context
        self._limit = sampling.max_tokens or (_ENDLESS if context is None else None)
        self._stream = TextStream(tokenizer) if tokenizer else None
        self._stops = StopStrings(sampling.stop)
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] = []

    @property
    def fingerprint(self) -> str:
        """What tells its adapter from others; "" without one."""
        return "" if self.adapter is None else self.adapter.fingerprint

    @property
    def remembered(self) -> int:
        """Ids that the cache holds."""
        return self.handle.length if self.handle is not None else 0

    @property
    def pending(self) -> int:
        """Ids that the cache does not hold yet."""
        return len(self.ids) - self.remembered

    def next(self, count: int) -> list[int]:
        """The next `count` pending ids."""
        begin = self.remembered
        return self.ids[begin : begin + count]

    def coming(self, count: int) -> list[PromptImage]:
        """The pictures among the next `count` pending ids."""
        begin = self.remembered
        return [image for image in self.images if begin <= image.first < begin + count]

    def pictures(self) -> list[tuple[int, int]]:
        """Where the pending pictures begin and end, counted from the first pending id."""
        begin = self.remembered
        return [(image.first - begin, image.end - begin) for image in self.images if image.first >= begin]

    @property
    def drawn(self) -> int:
        """Tokens of the answer so far."""
        return len(self.ids) - self.prompt

    @property
    def room(self) -> int:
        """Tokens that the answer can still have."""
        left = [] if self._limit is None else [self._limit - self.drawn]
        return min([*left, *([] if self._full is None else [self._full - len(self.ids)])])

    def ends(self, id: int) -> bool:
        """Does this id end the answer?"""
        return id in self._ends

    def spend(self, seconds: float, prefill: bool) -> None:
        """Books a step's time."""
        if prefill:
            self.prefill_seconds += seconds
        else:
            self.decode_seconds += seconds

    def take(self, id: int, logprob: TokenLogprob | None) -> Event:
        """The next token of the answer; its event holds the completion when it is the last."""
        self.ids.append(id)
        constraint = self.constraint
        if constraint is not None:  # all that it has not seen: after an interruption it may be one behind
            for new in self.ids[self.prompt + constraint.taken :]:
                constraint.take(new)
        if logprob is not None:
            self._logprobs.append(logprob)
        if self.ends(id):
            return self.finish("stop", id=id, logprob=logprob)
        text = self._stops.push(self._stream.push(id)) if self._stream else ""
        self._text.append(text)
        if self._stops.found is not None:
            return self.finish("stop", id=id, logprob=logprob, text=text)
        if constraint is not None and constraint.done:
            return self.finish("stop", id=id, logprob=logprob, text=text)
        if self.drawn == self._limit or len(self.ids) == self._full:
            return self.finish("length", id=id, logprob=logprob, text=text)
        return Event(request=self.key, id=id, text=text, logprob=logprob, completion=None)

    def finish(
        self, reason: FinishReason, *, id: int | None = None, logprob: TokenLogprob | None = None, text: str = ""
    ) -> Event:
        """The last event: `text` of its own token, and what was held back."""
        if self._stream and self._stops.found is None:
            rest = self._stops.push(self._stream.flush()) + self._stops.flush()
            self._text.append(rest)
            text += rest
        completion = Completion(
            text="".join(self._text),
            ids=tuple(self.ids[self.prompt :]),
            logprobs=None if self.sampling.logprobs is None else tuple(self._logprobs),
            finish_reason=reason,
            usage=Usage(
                prompt=self.prompt,
                cached=self.cached,
                completion=self.drawn,
                prefill_seconds=self.prefill_seconds,
                decode_seconds=self.decode_seconds,
                proposed=self.proposed,
                accepted=self.accepted,
            ),
            seed=self.seed,
        )
        return Event(request=self.key, id=id, text=text, logprob=logprob, completion=completion)
