"""Runs requests together: prompts in chunks, drawn tokens in batches, all in one ragged step.

Whatever a step is made of, an answer depends on its own request only: not on the chunks its prompt was cut into, nor on
its neighbours, nor on the place that it got.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import torch

from gemwright.engine import door
from gemwright.engine.constrain import Constraint
from gemwright.engine.drawing import Drawn, Ready, run
from gemwright.engine.eyes import Eyes
from gemwright.engine.held import Held, held
from gemwright.engine.looking import Looking
from gemwright.engine.places import Places
from gemwright.engine.progress import Progress, Session
from gemwright.engine.proposer import Facts, Proposer
from gemwright.engine.request import Completion, Event, PromptImage, Request, RequestError, Sampling
from gemwright.engine.room import make_room
from gemwright.engine.schedule import Part, Schedule
from gemwright.engine.shelf import DISK_BYTES, Shelf
from gemwright.engine.speculate import Speculation
from gemwright.errors import UserError
from gemwright.nn.adapters import Adapters
from gemwright.nn.decoder import Decoder
from gemwright.ops.span import Image
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import stop_ids

_Member = tuple[Progress, Part]


class Engine:
    """A model, a tokenizer, a cache, and the requests that share them. For one thread.

    `submit` and `step` are the whole machine; `run`, `stream` and `generate` drive it for callers with nothing else to
    do. A `KeyboardInterrupt` inside a step leaves every request as it was before the step, so that the engine can go on
    or cancel.
    """

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer | None = None,
        *,
        context: int | None = None,
        sequences: int | None = 8,
        chunk: int = 512,
        defaults: Sampling | None = None,
        int8_cache: bool = False,
        eyes: Eyes | None = None,
        reuse: int | None = 0,
        adapters: Adapters | None = None,
        speculate: Proposer | None = None,
        reuse_bytes: int | None = None,
        disk: str | Path | None = None,
        disk_bytes: int = DISK_BYTES,
    ) -> None:
        """Allocates the cache, in the model's dtype and on its device.

        Args:
            model: loaded or initialised.
            tokenizer: None gives ids only: completions without text, no stop strings.
            context: tokens that one sequence may have, prompt and answer (default: what the model was made for, less
                where memory is short, with a warning).
            sequences: requests that run at once, idle conversations included (None: 4, fewer where memory is short).
            chunk: prompt tokens in one step; a picture with more of them has a step of its own. Encoding a picture is
                spread over steps, for at most the price of `chunk // 8` tokens in each.
            defaults: the checkpoint's sampling (see `request.defaults_of`); default: Gemma's own, and the tokenizer's
                stop ids.
            int8_cache: keep the global layers' keys and values in 8 bits, half of bfloat16's memory.
            eyes: what pictures are seen with; engines may share it. None: a model for text only.
            reuse: beginnings of prompts that are kept for later requests, which then read only what is new; each has
                windows and states of its own, and blocks that nobody else needs (None: 8, if memory allows).
            adapters: those that requests may name; engines may share them. More can be added and removed later.
            speculate: guesses what comes next; what comes true is drawn in fewer steps, with the same text (see
                `engine.speculate`). One proposer serves one engine.
            reuse_bytes: that these may keep together (None: what there is).
            disk: a folder that takes those that leave memory, and gives them to later processes too (see `Shelf`).
            disk_bytes: of that folder at most.

        Raises `UserError` for a context that the model was not made for, or that the memory does not hold, for a
        proposer of another tokenizer, and for a folder that cannot be used.
        """
        self.model = model
        self.tokenizer = tokenizer
        self.device = model.device
        self.adapters = Adapters(model.spec, model.device) if adapters is None else adapters
        more = None if speculate is None else speculate.cache_bytes
        room = make_room(model, context=context, sequences=sequences, reuse=reuse, int8=int8_cache, more=more)
        self.cache, self.context, self.sequences = room.cache, room.context, room.sequences
        if defaults is None:
            defaults = Sampling(stop_ids=stop_ids(tokenizer, None) if tokenizer else ())
        self.defaults = defaults
        self._eyes = eyes
        self._looking = Looking(model.spec, eyes)
        banned = door.never_drawn(tokenizer, model.spec.vocab)
        self._banned = torch.tensor(banned, dtype=torch.int64, device=self.device)
        self._schedule = Schedule(places=room.sequences, chunk=chunk)
        self._live: dict[int, Progress] = {}
        shelf = None if disk is None else Shelf(disk, self.cache, limit=disk_bytes)
        size = {"sequences": room.sequences, "reuse": room.reuse, "reuse_bytes": reuse_bytes}
        self._places = Places(self.cache, **size, chunk=chunk, shelf=shelf)
        self._outbox: list[Event] = []
        self._failed: dict[int, UserError] = {}  # requests that could not go on, until their reader hears of it
        self._next = 0
        facts = Facts(
            tokenizer=tokenizer,
            vocab=model.spec.vocab,
            context=self.context,
            sequences=self.sequences,
            chunk=chunk,
            slack=self.cache.slack,
            banned=tuple(banned),
        )
        self._speculation = Speculation(speculate, facts) if speculate else None

    # ------------------------------------------------------------------------------------------------- the machine

    def submit(self, request: Request, session: Session | None = None) -> int:
        """Queues a request and returns its number.

        With a `session` the prompt is the whole conversation so far; what the session remembers of it is not read
        again. Raises `UserError` for a prompt that cannot be run, a grammar that cannot be followed or an adapter that
        is not held, `ValueError` for a session that is at work.
        """
        door.check(request, vocab=self.model.spec.vocab, context=self.context, tokenizer=self.tokenizer)
        if request.images:
            self.check_images(request.images)
        if session is not None and session.busy:
            raise ValueError("this session has a request under way; finish or cancel it first")
        sampling = request.sampling.resolve(self.defaults)
        constraint = self._constraint(sampling)
        adapter = self.adapters.find(request.adapter)
        key, self._next = self._next, self._next + 1
        self._live[key] = Progress(
            key,
            list(request.ids),
            sampling,
            context=self.context,
            tokenizer=self.tokenizer,
            session=session,
            images=request.images,
            constraint=constraint,
            adapter=adapter,
        )
        if adapter is not None:
            adapter.users += 1
        if session is not None:
            session.busy = True
        self._schedule.add(key, request.priority)
        return key

    def step(self) -> list[Event]:
        """Runs one step and returns the events of all requests that drew a token in it, which may be none.

        Raises `RequestError` for a request that cannot go on; the others' events come with the next call.
        """
        self._advance()
        for key in self._failed:
            raise RequestError(key, self._failed.pop(key))
        events, self._outbox = self._outbox, []
        return events

    def encode(self, prompt: str | Sequence[int]) -> tuple[int, ...]:
        """A prompt's ids: text gets exactly one `<bos>`, ids are taken as they are (see `door.encode`)."""
        return door.encode(prompt, self.tokenizer)

    @property
    def eyes(self) -> Eyes:
        """What pictures are seen with. Raises `UserError` for an engine without."""
        if self._eyes is None:
            raise UserError(
                f"{self.model.spec.name} has no vision tower here: it sees no pictures",
                hint="leave the pictures out, or take a model with a tower",
            )
        return self._eyes

    def check_images(self, images: Sequence[PromptImage]) -> None:
        """Raises `UserError` where there is no tower, `ValueError` for pictures that are not made for it."""
        self.eyes.check(images, self.model.spec.width)

    def cancel(self, key: int) -> Event | None:
        """Ends a request now and frees its place. Its last event, which no `step` returns; None if it was read before.
        Events that nobody read are dropped."""
        unread = self._collect({key})
        self._failed.pop(key, None)
        progress = self._live.get(key)
        if progress is None:
            return next((event for event in unread if event.completion is not None), None)
        event = progress.finish("cancelled")
        self._retire(progress)
        return event

    @property
    def busy(self) -> bool:
        """Whether a request is waiting or running."""
        return bool(self._live)

    @property
    def idle(self) -> tuple[Session, ...]:
        """The sessions that hold a place and have no request under way, longest idle first."""
        return tuple(self._places.idle)

    def held(self) -> Held:
        """What the cache holds now, and for whom."""
        return held(self.cache, self._places, self._live.values(), self._schedule)

    def release(self, session: Session) -> None:
        """Frees what an idle session holds. A session that is at work gives its place back when its request ends."""
        self._places.release(session)

    def twin(self, session: Session) -> Session:
        """An idle session's twin; it remembers nothing where no place is free, and is then read again."""
        return self._places.twin(session, len(self._schedule.running))

    def save(self, session: Session, path: str | Path, note: str) -> None:
        """Writes what a session remembers, and a note with it, into a file. Raises `UserError` where it cannot be
        written, `ValueError` for a session at work."""
        self._places.save(session, path, note)

    def reopen(self, path: str | Path, images: Sequence[PromptImage] = (), adapter: str | None = None) -> Session:
        """The session of a file, `images` the pictures of its conversation, `adapter` the name of what it goes on with.
        It remembers nothing where only a note was saved, or where no place is free. Raises `UserError` as
        `snapshot.load`."""
        under = self.adapters.fingerprint(adapter)
        return self._places.reopen(path, images, len(self._schedule.running), under)

    def forget(self) -> None:
        """Frees the beginnings of prompts that are kept for reuse; not those on disk."""
        self._places.prefixes.clear()

    def close(self) -> None:
        """Frees them and what idle sessions hold; with a disk, it has all of worth when this returns, and is left."""
        self._places.close()

    # ---------------------------------------------------------------------------------------------- ways to drive it

    def events(self, key: int) -> Iterator[Event]:
        """Steps until the request ends, yielding its events; those of other requests wait for their own reader."""
        while True:
            for event in self._collect({key}):
                yield event
                if event.completion is not None:
                    return
            if key in self._failed:
                raise self._failed.pop(key)
            if key not in self._live and not any(event.request == key for event in self._outbox):
                return  # cancelled, or dropped by an error
            self._advance()

    def stream(self, request: Request, session: Session | None = None) -> Iterator[Event]:
        """The events of one request. It is submitted when the first one is asked for; leaving early cancels it."""
        key = self.submit(request, session)
        try:
            yield from self.events(key)
        finally:
            self.cancel(key)

    def generate(self, request: Request, session: Session | None = None) -> Completion:
        """The completion of one request. An interrupt cancels it."""
        last = None
        for event in self.stream(request, session):
            last = event.completion
        assert last is not None, "an uncancelled request ends with a completion"
        return last

    def run(self, requests: Sequence[Request]) -> list[Completion]:
        """The completions of all, in the order of the requests. An error or interrupt cancels them all."""
        keys: list[int] = []
        done: dict[int, Completion] = {}
        try:
            for request in requests:
                keys.append(self.submit(request))
            while len(done) < len(keys):
                self._advance()
                done |= {event.request: event.completion for event in self._collect(set(keys)) if event.completion}
                for key in self._failed.keys() & set(keys):
                    raise self._failed.pop(key)
        finally:
            for key in keys:
                self.cancel(key)
        return [done[key] for key in keys]

    def _collect(self, keys: Collection[int]) -> list[Event]:
        """Takes the events of these requests out of the box."""
        mine = [event for event in self._outbox if event.request in keys]
        if mine:
            self._outbox = [event for event in self._outbox if event.request not in keys]
        return mine

    # --------------------------------------------------------------------------------------------------- one step

    def _advance(self) -> None:
        """One step: its events go to the box."""
        live = self._live
        for key, loser in self._schedule.admit():
            if loser is not None:
                self._places.suspend(live[loser])
            self._places.admit(live[key], len(self._schedule.running))
        parts = self._schedule.parts(
            lambda key: live[key].pending,
            lambda key: live[key].pictures(),
            lambda key, count: self._looking.price(live[key].coming(count)),
        )
        members = [(self._live[part.request], part) for part in parts]
        if not members:
            return
        try:
            self._looking.run(members)
            if running := [(progress, part) for progress, part in members if part.count]:
                self._step(running)
        except BaseException:
            for progress, _ in members:
                if progress.key in self._live:
                    self._places.mend(progress)
            raise

    def _step(self, members: list[_Member]) -> None:
        """Runs the parts, then draws where a request has nothing pending. Nothing has happened before the commit."""
        began = time.perf_counter()
        reading = [progress.remembered < progress.prompt for progress, _ in members]
        speculation = None if any(reading) else self._speculation
        guesses = [()] * len(members) if speculation is None else speculation.propose(members)
        guessed = time.perf_counter()
        counts = [part.count + len(more) for (_, part), more in zip(members, guesses, strict=True)]
        ids = [id for (one, part), more in zip(members, guesses, strict=True) for id in (*one.next(part.count), *more)]
        seen = [
            (index, image) for index, (progress, part) in enumerate(members) for image in progress.coming(part.count)
        ]
        soft = self._looking.soft(image for _, image in seen).to(self.device) if seen else None
        images = [Image(index, image.first, image.count) for index, image in seen]
        step = self._places.prepare([progress for progress, _ in members], counts, images)
        ends = accumulate(counts)
        ready = [
            Ready(progress, more, end)
            for (progress, part), more, end in zip(members, guesses, ends, strict=True)
            if part.last
        ]
        adapters = self.adapters.chosen([progress.adapter for progress, _ in members], counts)
        drawn = run(self.model, ids, step, ready, soft=soft, adapters=adapters, banned=self._banned)
        step.commit()
        self._looking.read(image for _, image in seen)
        for (progress, more, _), found in zip(ready, drawn, strict=True):
            progress.proposed += len(more)
            if found.kept < len(more):
                self.cache.rollback(progress.handle, len(more) - found.kept)
        ended = time.perf_counter()
        if speculation is not None:
            told = {one.progress.key: found for one, found in zip(ready, drawn, strict=True)}
            speculation.learn(told, len(ids), ended - guessed)
        for (progress, _), prefill in zip(members, reading, strict=True):
            progress.spend(ended - began, prefill)
            if prefill:
                self._places.mark(progress)
        for one, found in zip(ready, drawn, strict=True):
            self._take(one.progress, found)

    def _take(self, progress: Progress, found: Drawn) -> None:
        """The tokens that a step drew for a request, up to the end of its answer."""
        for index, (id, logprob) in enumerate(found.tokens):
            progress.accepted += index < found.true
            event = progress.take(id, logprob)
            self._outbox.append(event)
            if event.completion is not None:
                if (ahead := progress.remembered - len(progress.ids) + 1) > 0:
                    self.cache.rollback(progress.handle, ahead)
                self._retire(progress)
                return
        if found.error is not None:  # the others' answers do not depend on it
            self._failed[progress.key] = found.error
            self._retire(progress)

    def _constraint(self, sampling: Sampling) -> Constraint | None:
        """What an answer with this (resolved) sampling is held to."""
        if sampling.grammar is None:
            return None
        assert self.tokenizer is not None, "the door lets no grammar in without a tokenizer"
        return Constraint(sampling.grammar, self.tokenizer, vocab=self.model.spec.vocab, ends=sampling.stop_ids)

    def _retire(self, progress: Progress) -> None:
        """Forgets a request; its place goes back to its session, or is kept for others, or is freed."""
        self._schedule.remove(progress.key)
        del self._live[progress.key]
        if progress.adapter is not None:
            progress.adapter.users -= 1
        self._places.retire(progress)
        self._looking.keep(image for one in self._live.values() for image in one.coming(one.pending))
        if self._speculation is not None:
            self._speculation.forget(progress.key)
