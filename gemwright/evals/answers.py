"""Many conversations answered at once, each as a chat would answer it alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gemwright.engine.engine import Engine
from gemwright.engine.pictures import placed
from gemwright.engine.request import Completion, Request, Sampling
from gemwright.errors import UserError
from gemwright.lm import LM
from gemwright.text.turns import Message, Rendered, render

OnDone = Callable[[int], object]

SEQUENCES = 16  # conversations that are answered at once


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A conversation as the model gets it, and its answer: None where it leaves no room for one in the context."""

    prompt: tuple[int, ...]
    answer: Completion | None

    @property
    def text(self) -> str:
        """What was answered; nothing where nothing could be."""
        return self.answer.text if self.answer else ""

    @property
    def tokens(self) -> int:
        """Tokens drawn, the mark that ends the turn included."""
        return len(self.answer.ids) if self.answer else 0


def prompt(lm: LM, messages: Sequence[Message]) -> tuple[int, ...]:
    """The ids of a conversation in the model's own layout, ready for its answer. Raises as `ask` does."""
    return tuple(_rendered(lm, messages).ids)


def _rendered(lm: LM, messages: Sequence[Message]) -> Rendered:
    """The same with the places of pictures, which are read and cut as a chat does it."""
    soft = 0
    if any(message.images for message in messages):
        eyes = lm.engine.eyes
        soft = eyes.soft
        messages = [replace(one, images=tuple(map(eyes.show, one.images))) for one in messages]
    if lm.tokenizer is None:
        raise UserError(f"{lm.spec.name} has no tokenizer", hint="put its files into the model's folder")
    if lm.template is not None:
        return lm.template.render(messages, lm.tokenizer, soft=soft)
    if not lm.tokenizer.supports_turns:
        raise UserError(
            f"the tokenizer of {lm.spec.name} has no turn marks, so no question can be put to the model",
            hint="measure it with --suite perplexity",
        )
    return render(messages, lm.tokenizer, soft=soft)


def ask(
    lm: LM,
    conversations: Sequence[Sequence[Message]],
    *,
    sampling: Sampling,
    sequences: int = SEQUENCES,
    on_done: OnDone | None = None,
) -> list[Asked]:
    """The answers, in the order of the conversations; `sequences` of them are under way at a time.

    What a message shows under `images` is of any kind that a chat takes; all of it is in memory together. The cache is
    as long as these conversations need, and no longer than the model's context. `on_done` is told how many answers
    there are. Raises `UserError` for a model that cannot hold a conversation, and for pictures where it sees none.
    """
    requests = [_request(lm, _rendered(lm, messages), sampling) for messages in conversations]
    longest = max((len(request.ids) for request in requests), default=1)
    engine = wide_engine(lm, longest, sampling.max_tokens, sequences)
    fits = [index for index, one in enumerate(requests) if engine.context is None or len(one.ids) < engine.context]
    completions = dict(zip(fits, run_all(engine, [requests[index] for index in fits], on_done), strict=True))
    return [Asked(prompt=one.ids, answer=completions.get(index)) for index, one in enumerate(requests)]


def _request(lm: LM, found: Rendered, sampling: Sampling) -> Request:
    images = placed(found.images, lm.engine.eyes.soft) if found.images else ()
    return Request(ids=tuple(found.ids), sampling=sampling, images=images)


def wide_engine(lm: LM, longest: int, most: int | None, sequences: int = SEQUENCES) -> Engine:
    """An engine for `sequences` prompts at once, of at most `longest` tokens and answers of at most `most` (None: as
    long as the context). How to sample and when to stop is what the model's own engine says."""
    own = lm.engine  # whose cache takes no memory before it is written
    context = own.context
    if context is not None and most is not None:
        context = min(context, longest + most)
    return Engine(lm.model, lm.tokenizer, context=context, sequences=sequences, defaults=own.defaults, eyes=lm.eyes)


def run_all(engine: Engine, requests: Sequence[Request], on_done: OnDone | None = None) -> list[Completion]:
    """As `engine.run`, telling how many have ended. An error or interrupt cancels them all."""
    keys: list[int] = []
    done: dict[int, Completion] = {}
    try:
        for request in requests:
            keys.append(engine.submit(request))
        while len(done) < len(keys):
            ended = {event.request: event.completion for event in engine.step() if event.completion is not None}
            done |= ended
            if ended and on_done is not None:
                on_done(len(done))
    finally:
        for key in keys:
            if key not in done:
                engine.cancel(key)
    return [done[key] for key in keys]
