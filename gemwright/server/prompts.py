"""What a client sent as the ids that the engine runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from threading import Lock

from gemwright.engine.constrain import vocabulary
from gemwright.engine.door import check_ids
from gemwright.engine.eyes import Eyes
from gemwright.engine.pictures import Shown, placed
from gemwright.engine.request import Request, Sampling
from gemwright.errors import UserError
from gemwright.image.decode import decode
from gemwright.image.limits import LIMITS
from gemwright.lm import LM
from gemwright.server.ask import Ask, Photo, Prompt, Said
from gemwright.server.errors import ApiError
from gemwright.server.settings import Settings
from gemwright.server.structure import grammar_of
from gemwright.text.turns import Message, render


class Prompts:
    """Renders prompts for one model. For any thread: it touches tokenizer and pictures only."""

    def __init__(self, lm: LM, settings: Settings) -> None:
        self._lm, self._settings = lm, settings
        self._limits = replace(LIMITS, pixels=min(LIMITS.pixels, settings.image_pixels))
        self._seeing = Lock()
        self.context = lm.engine.context

    def requests(self, ask: Ask) -> list[Request]:
        """One for each answer, those of the first prompt first. Raises `UserError` or `ApiError` for what cannot be
        run."""
        grammar = grammar_of(ask.structure)
        if grammar is not None and self._lm.tokenizer is not None:
            vocabulary(self._lm.tokenizer)  # built here: the first time is long, and the engine must not wait
        samplings = [replace(one, grammar=grammar) for one in ask.samplings()]
        laid = [self.request(prompt, ask.sampling) for prompt in ask.prompts]
        adapter = self.adapter(ask.model)
        return [
            replace(request, sampling=one, adapter=adapter, priority=ask.priority)
            for request in laid
            for one in samplings
        ]

    def adapter(self, model: str | None) -> str | None:
        """The adapter that clients mean by a model's name; None for the model itself."""
        return model if model in self._lm.adapters else None

    def request(self, prompt: Prompt, sampling: Sampling) -> Request:
        """A prompt in the engine's terms: text gets one `<bos>`, ids are taken as they are, a conversation is laid out
        as the model was tuned. Raises `ApiError` for more tokens than the context holds."""
        if isinstance(prompt, str):
            self._check_size(prompt)
            request = Request(ids=self._lm.engine.encode(prompt), sampling=sampling)
        elif prompt and isinstance(prompt[0], Said):
            request = self._conversation([one for one in prompt if isinstance(one, Said)], sampling)
        else:
            request = Request(ids=tuple(one for one in prompt if isinstance(one, int)), sampling=sampling)
            check_ids(request.ids, self._lm.spec.vocab)
        if self.context is not None and len(request.ids) >= self.context:
            raise ApiError(
                400,
                f"the prompt has {len(request.ids)} tokens, the context holds {self.context}, "
                "at least one of them for the answer",
                code="context_length_exceeded",
            )
        return request

    def _conversation(self, said: Sequence[Said], sampling: Sampling) -> Request:
        tokenizer, template = self._lm.tokenizer, self._lm.template
        if tokenizer is None:
            raise UserError("this model has no tokenizer", hint="use /v1/completions with token ids")
        self._check_size("".join(one.text for one in said))
        images, most = sum(len(one.images) for one in said), self._settings.images
        if images > most:
            raise ApiError(400, f"{images} pictures are more than the {most} that one request may show")
        messages = [Message(one.role, one.text, tuple(map(self._shown, one.images))) for one in said]
        soft = self._lm.engine.eyes.soft if any(one.images for one in said) else 0
        if template is not None:
            whole = template.render(messages, tokenizer, soft=soft)
        else:
            whole = render(messages, tokenizer, soft=soft)
        return Request(ids=tuple(whole.ids), sampling=sampling, images=placed(whole.images, soft))

    def _shown(self, photo: Photo) -> Shown:
        try:
            with self._seeing:  # the tower is loaded once, and few large pictures are in memory together
                return self._eyes().show(decode(photo.data, self._limits), pan_scan=photo.pan_scan)
        except UserError as error:
            raise ApiError(400, str(error), param=photo.param, code="invalid_image") from error

    def _eyes(self) -> Eyes:
        """What pictures are seen with, loaded. Raises `UserError` in which clients read the model's name, and not where
        its files lie."""
        try:
            eyes = self._lm.engine.eyes
            _ = eyes.tower
        except UserError as error:
            name = self._settings.name or self._lm.spec.name
            raise UserError(
                f"{name} has no vision tower that can be used: it sees no pictures", hint="leave the pictures out"
            ) from error
        return eyes

    def _check_size(self, text: str) -> None:
        """A text that could not fit even if every token were the longest is not encoded: that alone may take long."""
        if self.context is None or self._longest is None or len(text) <= self.context * self._longest:
            return
        raise ApiError(
            400,
            f"the prompt has {len(text)} characters, more than {self.context} tokens of context can hold",
            code="context_length_exceeded",
        )

    @property
    def sees(self) -> bool:
        """Whether the model can be shown pictures."""
        try:
            return self._lm.engine.eyes is not None
        except UserError:
            return False

    @cached_property
    def _longest(self) -> int | None:
        """Bytes, so at least the characters, of the longest piece."""
        tokenizer = self._lm.tokenizer
        if tokenizer is None:
            return None
        return max(len(tokenizer.bytes_of(id)) for id in range(tokenizer.vocab_size))
