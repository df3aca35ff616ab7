"""What a caller asks of the engine, and what the engine answers. Plain data: no torch here.

`Sampling` says how to draw and when to stop, `Request` adds the prompt, `Event` is one drawn token, `Completion` the
whole answer. `PromptImage` is a picture in a prompt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from gemwright.engine.grammar import Grammar
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.image.picture import Picture

FinishReason = Literal["stop", "length", "cancelled"]

# What Google's own PyTorch sampler uses for every Gemma; the Gemma 3 checkpoints' generation_config says the same.
_TEMPERATURE, _TOP_K, _TOP_P = 1.0, 64, 0.95
_LARGEST = 10_000.0  # temperature, penalty and bias; beyond it logits leave float32


def _whole(name: str, value: Any, least: int | None) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"{name} is {value!r}, it must be a whole number", hint=f"give {name} as an integer")
    if least is not None and value < least:
        raise UserError(f"{name} is {value}, it must be at least {least}", hint=f"give {name} ≥ {least}")


def _between(name: str, value: Any, low: float, high: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{name} is {value!r}, it must be a number", hint=f"give {name} as a number")
    if not low <= value <= high or math.isinf(value):
        limit = f"between {low} and {high}" if math.isfinite(high) else f"a finite number of at least {low}"
        raise UserError(f"{name} is {value}, it must be {limit}", hint=f"change {name}")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to draw tokens and when to stop. `None` in the first six means "as the checkpoint says" (see `resolve`).

    Attributes:
        max_tokens: tokens to draw at most; None: until the context is full (8,192 where there is no context).
        temperature: divides the logits; 0 takes the likeliest token (the lowest id of equals).
        top_k: draw among that many likeliest tokens; 0: no such limit.
        top_p: drop tokens that stand behind more than this much probability; 1: no such limit.
        min_p: drop tokens less likely than this share of the likeliest one; 0: no such limit.
        repetition_penalty: a token of the prompt or the answer has its logit divided by it (if positive) or
            multiplied by it (if negative); 1: none.
        logit_bias: id → number added to its logit; `-inf` forbids the id.
        seed: the same seed draws the same text, alone or in any batch; None: another one each time.
        stop: strings that end the answer; they are not part of its text.
        stop_ids: ids that end the answer, besides the checkpoint's own.
        ignore_eos: do not stop at the checkpoint's own stop ids.
        logprobs: None: report none; n: the log-probability of each token and of the n likeliest in its place.
        grammar: what the answer must look like; it ends where nothing more can follow. What the grammar leaves no
            choice about is not asked of the model, except with `logprobs`, where each token is drawn.

    Raises `UserError` for values that mean nothing.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    grammar: Grammar | None = None

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            raise UserError(f"stop is the string {self.stop!r}", hint="give a tuple of strings, such as ('\\n\\n',)")
        object.__setattr__(self, "stop", tuple(self.stop))
        object.__setattr__(self, "stop_ids", tuple(self.stop_ids))
        object.__setattr__(self, "logit_bias", dict(self.logit_bias))
        _whole("max_tokens", self.max_tokens, least=1)
        _whole("top_k", self.top_k, least=0)
        _whole("logprobs", self.logprobs, least=0)
        _whole("seed", self.seed, least=None)
        _between("temperature", self.temperature, 0, _LARGEST)
        _between("top_p", self.top_p, 0, 1)
        _between("min_p", self.min_p, 0, 1)
        _between("repetition_penalty", self.repetition_penalty, 0, _LARGEST)
        if self.top_p == 0:
            raise UserError("top_p is 0, it must be positive", hint="leave it out, or use temperature=0")
        if self.repetition_penalty is not None and self.repetition_penalty * _LARGEST < 1:
            raise UserError(
                f"repetition_penalty is {self.repetition_penalty}, it must be at least {1 / _LARGEST}",
                hint="leave it out, or give a number near 1",
            )
        if self.grammar is not None and not isinstance(self.grammar, Grammar):
            raise UserError(f"the grammar is {self.grammar!r:.60}", hint="make it by Grammar.schema, regex, …")
        for text in self.stop:
            if not isinstance(text, str) or not text:
                raise UserError(f"a stop string is {text!r}", hint="give strings of at least one character")
        for id in (*self.stop_ids, *self.logit_bias):
            _whole("a token id", id, least=0)
        for id, bias in self.logit_bias.items():
            number = isinstance(bias, int | float) and not isinstance(bias, bool)
            if not number or not (bias == -math.inf or abs(bias) <= _LARGEST):
                raise UserError(
                    f"the logit bias of id {id} is {bias!r}",
                    hint=f"give a number between -{_LARGEST:.0f} and {_LARGEST:.0f}, or -inf to forbid it",
                )

    def resolve(self, defaults: Sampling) -> Sampling:
        """This sampling with every `None` of the first six filled from `defaults`, and the stop ids of both joined
        (of this one alone with `ignore_eos`). What `defaults` leaves open too is Gemma's own: temperature 1, top-k 64,
        top-p 0.95, no min-p, no penalty, no limit of tokens. Resolving twice changes nothing."""

        def first(name: str, last: Any) -> Any:
            values = (getattr(self, name), getattr(defaults, name), last)
            return next((value for value in values if value is not None), None)

        own = () if self.ignore_eos else tuple(id for id in defaults.stop_ids if id not in self.stop_ids)
        return replace(
            self,
            max_tokens=first("max_tokens", None),
            temperature=first("temperature", _TEMPERATURE),
            top_k=first("top_k", _TOP_K),
            top_p=first("top_p", _TOP_P),
            min_p=first("min_p", 0.0),
            repetition_penalty=first("repetition_penalty", 1.0),
            stop_ids=self.stop_ids + own,
        )


def defaults_of(generation: Mapping[str, Any], stop_ids: Sequence[int] = ()) -> Sampling:
    """The defaults that a checkpoint's `generation_config.json` states, with its stop ids.

    `do_sample: false` is greedy; where the file does not say it, Gemma's own defaults hold. A limit of tokens is not
    taken from the file: transformers writes 20 there when nobody chose anything.
    """
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    stated = {name: generation[name] for name in names if generation.get(name) is not None}
    if generation.get("do_sample") is False:
        stated["temperature"] = 0.0
    return Sampling(**stated, stop_ids=tuple(stop_ids))


@dataclass(frozen=True, kw_only=True)
class PromptImage:
    """A picture in a prompt: `count` ids from the one of index `first` on stand for its soft tokens, whichever ids they
    are. `picture` is what the vision tower is shown; two with equal pixels are equal."""

    first: int
    count: int
    picture: Picture

    @property
    def end(self) -> int:
        """The index after its last id."""
        return self.first + self.count


@dataclass(frozen=True, kw_only=True)
class Request:
    """A prompt as token ids, taken as they are, the pictures among them in order, and how to go on from it.

    `adapter`: the name of one that the engine holds; None: the model's own weights alone. `priority`: where places are
    short, a higher one comes first, and takes the place of a lower one that runs, which goes on later with the same
    answer.
    """

    ids: tuple[int, ...]
    sampling: Sampling = Sampling()
    images: tuple[PromptImage, ...] = ()
    adapter: str | None = None
    priority: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(self.ids))
        object.__setattr__(self, "images", tuple(self.images))
        _whole("priority", self.priority, least=None)


@dataclass(frozen=True, kw_only=True)
class TokenLogprob:
    """Natural log-probability of a drawn token under the model's own distribution: softmax of its logits at
    temperature 1, before bias, penalty, masks and filters. `top`: the likeliest ids in its place, likeliest first."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens and seconds of a completion.

    `prompt` counts the prompt's ids, `cached` those of them that an earlier turn had left in the cache, `completion`
    the drawn ids. A step counts as prefill for a request while it reads that request's prompt, else as decode.
    `proposed` counts the ids that were run ahead of the answer, `accepted` those of them that it then had.
    """

    prompt: int
    cached: int
    completion: int
    prefill_seconds: float
    decode_seconds: float
    proposed: int = 0
    accepted: int = 0

    @property
    def prefill_speed(self) -> float:
        """Prompt tokens read per second (0 when nothing was measured)."""
        return (self.prompt - self.cached) / self.prefill_seconds if self.prefill_seconds else 0.0

    @property
    def decode_speed(self) -> float:
        """Tokens drawn per second, the first one excepted: it comes with the prefill (0 when nothing was measured)."""
        return (self.completion - 1) / self.decode_seconds if self.decode_seconds and self.completion > 1 else 0.0


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A whole answer.

    `ids` holds every id drawn, a closing stop id included; `text` ends before a stop string and holds no special
    pieces. `seed` draws the same text again. `finish_reason`: "stop" for a stop id or string or the end of a grammar,
    "length" for `max_tokens` or a full context, "cancelled".
    """

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] | None
    finish_reason: FinishReason
    usage: Usage
    seed: int


@dataclass(frozen=True, kw_only=True)
class Event:
    """One drawn token of a request, or its end.

    `id` is None in the event of a cancellation. `text` may be empty while half a character or what may become a stop
    string is held back; the texts of all events of a request, joined, are its completion's text. The last event holds
    the `completion`.
    """

    request: int
    id: int | None
    text: str
    logprob: TokenLogprob | None
    completion: Completion | None


class RequestError(UserError):
    """That the engine gave up one request, whose number is `request`, and `why`. The others go on."""

    def __init__(self, request: int, error: UserError) -> None:
        super().__init__(error.message, error.hint)
        self.request, self.why = request, error
