"""A conversation that keeps its place in the cache: each turn reads only what is new."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from gemwright.cache import snapshot
from gemwright.engine.door import check_ids, rows_of
from gemwright.engine.engine import Engine
from gemwright.engine.pictures import Source, placed
from gemwright.engine.progress import Session
from gemwright.engine.record import parsed, text_of, transcript_of, tree_of
from gemwright.engine.request import Completion, PromptImage, Request, Sampling
from gemwright.engine.transcript import Transcript as Transcript
from gemwright.errors import UserError
from gemwright.text.template import ChatTemplate
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import Message, render, render_next


class Chat:
    """A conversation between a user and the model.

    The conversation is a list of ids: what was rendered and what the model drew, never text that is encoded again. So
    the next turn's prompt begins with what the cache remembers, and only the rest is read. A reply that was stopped
    half-way (Ctrl-C, or leaving `stream` early) stays in the conversation as far as it got; a message that got no
    token of a reply is taken back.
    """

    def __init__(
        self,
        engine: Engine,
        system: str | None = None,
        sampling: Sampling | None = None,
        template: ChatTemplate | None = None,
        adapter: str | None = None,
    ) -> None:
        """Nothing is run yet.

        `system`: what the model is told before the first message. `sampling`: of every reply (default: the
        checkpoint's). `template`: a checkpoint's own layout, where it is not the family's; the conversation is then
        rendered anew each turn, and what differs from the cache is read again. `adapter`: the name of one that the
        engine holds. Raises `UserError` for a model without a tokenizer and for an unknown adapter.
        """
        if engine.tokenizer is None:
            raise UserError("this model has no tokenizer", hint="a chat needs one; put it into the model's folder")
        self.engine = engine
        self.sampling = sampling or Sampling()
        self.last: Completion | None = None
        self._tokenizer: Tokenizer = engine.tokenizer
        self._template = template
        self._adapter = adapter
        self._session = self._begun()
        self._system = system
        self._said: list[Message] = []
        self._ids: list[int] = []
        self._images: tuple[PromptImage, ...] = ()
        self._closed = False

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's."""
        return self._tokenizer

    @property
    def messages(self) -> tuple[Message, ...]:
        """What was said, the system text first where there is one."""
        system = [Message("system", self._system)] if self._system else []
        return (*system, *self._said)

    @property
    def system(self) -> str | None:
        """What the model was told before the first message."""
        return self._system

    @property
    def adapter(self) -> str | None:
        """The name of the adapter that the next turn runs with, None for none. Setting it raises `UserError` for an
        unknown one; the conversation goes on, and the next turn reads it again."""
        return self._adapter

    @adapter.setter
    def adapter(self, name: str | None) -> None:
        self.engine.adapters.find(name)
        self._adapter = name

    @property
    def ids(self) -> tuple[int, ...]:
        """The conversation as the model has it, up to the last reply's end."""
        return tuple(self._ids)

    @property
    def tokens(self) -> int:
        """Tokens of the conversation."""
        return len(self._ids)

    @property
    def cache_bytes(self) -> int:
        """Bytes that the conversation keeps in the cache; 0 before the first turn."""
        handle = self._session.handle
        return sum(self.engine.cache.bytes_used(handle).values()) if handle is not None else 0

    @property
    def speed(self) -> tuple[float, float]:
        """Tokens per second of the last turn: read (prefill), drawn (decode)."""
        return (self.last.usage.prefill_speed, self.last.usage.decode_speed) if self.last else (0.0, 0.0)

    def say(
        self,
        text: str,
        on_text: Callable[[str], object] | None = None,
        *,
        images: Sequence[Source] = (),
        pan_scan: bool | None = None,
    ) -> Completion:
        """Sends a message and returns the reply; `on_text` gets each new part of it as it comes.

        `images`: pictures that are shown with it, each a path, the bytes of a file, a Pillow image or a uint8 array
        `[H, W, 3]`. They stand before the text, or where it says `<start_of_image>`, once for each. `pan_scan`: wide
        and tall ones are shown whole and in crops (None: if the model's makers want it).

        Raises `UserError` when the conversation no longer fits the context, for a picture that cannot be read, and for
        any picture where the model sees none. A `KeyboardInterrupt` ends the reply and passes on; what the model had
        said by then is in `last` and in `messages`.
        """
        with closing(self._turn(self._message(text, images, pan_scan))) as pieces:
            for piece in pieces:
                if on_text is not None:
                    on_text(piece)
        assert self.last is not None, "a turn that ends sets it"
        return self.last

    def stream(self, text: str, *, images: Sequence[Source] = (), pan_scan: bool | None = None) -> Iterator[str]:
        """The reply in parts, as they come; leaving the iterator early ends the reply there. Takes pictures and raises
        as `say` does."""
        return self._turn(self._message(text, images, pan_scan))

    def clear(self, system: str | None = None) -> None:
        """Starts a new conversation, with `system` if given, else with the same system text."""
        if self._session.busy:
            raise ValueError("a reply is under way; end it first")
        self.engine.release(self._session)
        self._system = self._system if system is None else system
        self._said, self._ids, self._images, self._closed, self.last = [], [], (), False, None

    def transcript(self) -> Transcript:
        """The conversation so far, for `restore`."""
        return Transcript(
            system=self._system,
            messages=tuple(self._said),
            ids=tuple(self._ids),
            closed=self._closed,
            images=self._images,
        )

    def restore(self, transcript: Transcript) -> None:
        """Goes on with that conversation instead of this one; the next turn reads it anew into the cache.

        Raises `UserError` for ids that the model does not have, more of them than the context holds, or pictures where
        the model sees none; the conversation stays as it was then.
        """
        ids, context = transcript.ids, self.engine.context
        if transcript.images:
            self.engine.check_images(transcript.images)
        if ids:
            check_ids(ids, self.engine.model.spec.vocab, rows_of(transcript.images, len(ids)))
        if context is not None and len(ids) >= context:
            raise UserError(
                f"the conversation has {len(ids)} tokens, the context holds {context}",
                hint="load the model with a larger context",
            )
        self.clear()
        self._system, self._said = transcript.system, list(transcript.messages)
        self._ids, self._images, self._closed = list(ids), transcript.images, transcript.closed

    def save(self, path: str | Path) -> None:
        """Writes the conversation and what the cache remembers of it into one file, all at once, for `open`.

        Raises `UserError` where it cannot be written, and for a picture that came from no file.
        """
        tree = tree_of(self.transcript(), model=self.engine.model.spec.name, tokenizer=self._tokenizer)
        self.engine.save(self._session, path, text_of(tree).decode())

    def open(self, path: str | Path) -> None:
        """Goes on with the conversation that `save` wrote, instead of this one; nothing of it is read again.

        What the file remembers may be damaged while its words and ids are whole: a warning says so, and the next turn
        reads them again. Raises `UserError` for a file of another model, adapter, dtype or kind of cache, a picture
        whose file is gone or another now, and a conversation that does not fit; this one stays as it was then.
        """
        tree = parsed(snapshot.read_note(path).encode(), Path(path))
        transcript = transcript_of(tree, Path(path), tokenizer=self._tokenizer, eyes=lambda: self.engine.eyes)
        try:
            session = self.engine.reopen(path, transcript.images, self._adapter)
        except snapshot.Damaged as error:
            warnings.warn(f"{error.message}; its words are whole and will be read again", stacklevel=2)
            session = self._begun()
        try:
            self.restore(transcript)
        except BaseException:
            self.engine.release(session)
            raise
        self._session = session

    def fork(self) -> Chat:
        """A conversation that begins as this one did so far and then goes its own way; both share the memory of what
        they have in common. Raises `ValueError` while a reply is under way."""
        if self._session.busy:
            raise ValueError("a reply is under way; end it first")
        twin = copy.copy(self)
        twin._said, twin._ids = list(self._said), list(self._ids)
        twin._session = self.engine.twin(self._session)
        return twin

    def _begun(self) -> Session:
        """A session of this conversation that remembers nothing yet."""
        session = Session()
        session.adapter = self.engine.adapters.fingerprint(self._adapter)
        return session

    def _message(self, text: str, images: Sequence[Source], pan_scan: bool | None) -> Message:
        if not images:  # nothing asks for a tower
            return Message("user", text)
        eyes = self.engine.eyes
        return Message("user", text, tuple(eyes.show(image, pan_scan=pan_scan) for image in images))

    def _turn(self, message: Message) -> Generator[str, None, None]:
        ids, images = self._prompt(message)
        context = self.engine.context
        if context is not None and len(ids) >= context:
            raise UserError(
                f"with this message the conversation has {len(ids)} tokens, the context holds {context}",
                hint="start a new conversation (/clear), or load with a larger context",
            )
        request = Request(ids=tuple(ids), sampling=self.sampling, images=images, adapter=self._adapter)
        key = self.engine.submit(request, self._session)
        completion = None
        try:
            for event in self.engine.events(key):
                completion = event.completion
                if event.text:
                    yield event.text
        finally:
            if completion is None and (event := self.engine.cancel(key)) is not None:
                completion = event.completion
            if completion is not None:
                self._record(message, ids, images, completion)

    def _prompt(self, message: Message) -> tuple[list[int], tuple[PromptImage, ...]]:
        """The ids of the whole conversation with a new message, ready for the reply, and the pictures among them."""
        soft = self.engine.eyes.soft if message.images or self._images else 0
        anew = render if self._template is None else self._template.render
        if self._template is not None or not self._said:
            whole = anew([*self.messages, message], self._tokenizer, soft=soft)
            return whole.ids, placed(whole.images, soft)
        rest = render_next(message, self._tokenizer, self._closed, soft)
        return self._ids + rest.ids, self._images + placed(rest.images, soft, begin=len(self._ids))

    def _record(
        self, message: Message, prompt: list[int], images: tuple[PromptImage, ...], completion: Completion
    ) -> None:
        """Puts a turn into the conversation. A stop id stays only if it is `<end_of_turn>`, of a reply that a stop
        string ended only what comes before it: the next turn must continue what was shown."""
        self.last = completion
        if not completion.ids:
            return
        reply = list(completion.ids)
        ends = self.sampling.resolve(self.engine.defaults).stop_ids
        self._closed = False
        if completion.finish_reason == "stop":
            if reply[-1] == self._tokenizer.end_of_turn:
                self._closed = True
            elif reply[-1] in ends:
                reply.pop()
            elif self._tokenizer.decode(reply) != completion.text:  # not the end of a grammar, which keeps all
                reply = self._tokenizer.encode(completion.text)
        self._ids, self._images = prompt + reply, images
        self._said += [message, Message("model", completion.text)]
