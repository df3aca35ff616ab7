"""A model as the public harness `lm-eval` wants one: strings in, log-likelihoods and strings out.

A model of this family wants exactly one `<bos>`, and turn marks that no message can write. So a chat that the harness
has rendered here is known again by its text, and gets the ids that `chat` would give the model. Every other text is
plain: one `<bos>` stands before it, also where a part of it had to be left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from gemwright.engine.request import Request, Sampling
from gemwright.errors import UserError
from gemwright.evals.answers import prompt, run_all, wide_engine
from gemwright.evals.likelihood import likelihoods
from gemwright.evals.recipe import recipe
from gemwright.lm import LM
from gemwright.text.template import BUILT_IN
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import Message

_MAX_TOKENS = 256  # of an answer, where a task does not say it: the harness's own number
_UNLIMITED = 8192  # tokens that are read together where a model has no limit
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # the first one given counts
_DRAWING = ("top_k", "top_p", "min_p", "repetition_penalty")
_KNOWN = {*_LENGTHS, *_DRAWING, "until", "do_sample", "temperature"}


class Adapter:
    """The methods of `lm_eval.api.model.TemplateLM` that a model must bring. The harness's own class stands behind it
    (see `harness.adapter`) and parts text into contexts and continuations as it does for every model."""

    cache_hook: Any

    def __init__(self, lm: LM) -> None:
        super().__init__()
        if lm.tokenizer is None:
            raise UserError(f"{lm.spec.name} has no tokenizer", hint="put its files into the model's folder")
        self.lm = lm
        self._vocabulary: Tokenizer = lm.tokenizer
        # A chat's text, as the harness knows it → its ids up to the last mark, and the plain text after that.
        self._chats: dict[str, tuple[list[int], str]] = {}

    @property
    def max_length(self) -> int:
        """Tokens that are read together."""
        return self.lm.spec.context or _UNLIMITED

    @property
    def eot_token_id(self) -> int:
        """`<eos>`."""
        return self._vocabulary.eos

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has no context: `<bos>`."""
        return self._vocabulary.bos

    @property
    def tokenizer_name(self) -> str:
        """Names vocabulary and layout, for the harness's cache of requests."""
        return self._vocabulary.fingerprint()

    def get_model_info(self) -> dict[str, Any]:
        """The recipe, which the harness puts among its results."""
        return {"gemwright": recipe(self.lm)}

    # ------------------------------------------------------------------------------------------------ strings → ids

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """A known chat's ids, else those of plain text behind one `<bos>` (none where the harness wants no special
        pieces). Text that begins with the name of `<bos>` was rendered elsewhere: its marks are read."""
        if string in self._chats:
            frame, tail = self._chats[string]
            return frame + self._vocabulary.encode(tail)
        if add_special_tokens is False:
            return self._vocabulary.encode(string)
        if string.startswith(self._vocabulary.piece(self._vocabulary.bos)):
            return self._vocabulary.encode(string, special=True)
        return self._vocabulary.encode(string, bos=True)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The text of a chat in the model's layout. Without a generation prompt the last message is the beginning of
        the model's answer."""
        begun = "" if add_generation_prompt else chat_history[-1]["content"]
        said = chat_history if add_generation_prompt else chat_history[:-1]
        ids = list(prompt(self.lm, [Message(message["role"], message["content"]) for message in said]))
        marks = self._vocabulary.special_ids
        at = max(index for index, id in enumerate(ids) if id in marks) + 1
        tail = self._vocabulary.decode(ids[at:]) + begun
        text = self._vocabulary.decode(ids[:at], skip_special=False) + tail
        self._chats[text] = (ids[:at], tail)
        return text

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The layout's source, for the harness's records."""
        if not chat_template:
            return None
        return self.lm.template.text if self.lm.template else BUILT_IN

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Both as ids; white space at the context's end counts to the continuation, as the harness has it."""
        if context not in self._chats:
            return super()._encode_pair(context, continuation)  # type: ignore[misc]
        frame, tail = self._chats[context]
        begun = self._vocabulary.encode(tail.rstrip())
        whole = self._vocabulary.encode(tail + continuation)
        return frame + begun, whole[len(begun) :]

    # ------------------------------------------------------------------------------------------------------ scoring

    def _loglikelihood_tokens(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        pairs = [self._fitted(context, continuation) for _, context, continuation in requests]
        self._tell([len(context) < len(request[1]) for (context, _), request in zip(pairs, requests, strict=True)])
        found = [(one.logprob, one.greedy) for one in likelihoods(self.lm.model, pairs)]
        for request, value in zip(requests, found, strict=True):
            if request[0] is not None:
                self.cache_hook.add_partial("loglikelihood", request[0], value)
        return found

    def _fitted(self, context: list[int], continuation: list[int]) -> tuple[list[int], list[int]]:
        """A pair that the model can read at once: of a longer one the context's beginning goes, `<bos>` excepted."""
        over = len(context) + len(continuation) - (self.max_length + 1)
        if over >= len(context):
            raise UserError(
                f"a continuation of {len(continuation)} tokens does not fit the {self.max_length} of the model",
                hint="leave this task to a model with a longer context",
            )
        return (context if over <= 0 else context[:1] + context[1 + over :]), continuation

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts, each behind one `<bos>`; what is longer than the model can read is read
        in windows that overlap by half, each behind a `<bos>` of its own."""
        texts = [self._vocabulary.encode(request.args[0]) for request in requests]
        short = [index for index, ids in enumerate(texts) if 0 < len(ids) <= self.max_length]
        pairs = [([self._vocabulary.bos], texts[index]) for index in short]
        known = dict(zip(short, likelihoods(self.lm.model, pairs), strict=True))
        found = []
        for index, (request, ids) in enumerate(zip(requests, texts, strict=True)):
            if index in known:
                found.append(known[index].logprob)
            else:
                found.append(sum(self.lm.score([self._vocabulary.bos, *ids]).logprobs) if ids else 0.0)
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, found[-1])
        return found

    # -------------------------------------------------------------------------------------------------- generating

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Continuations up to the first stop string: greedy, unless the task asks for something else."""
        samplings = [_sampling(request.args[1], number) for number, request in enumerate(requests)]
        most = max((sampling.max_tokens or 1 for sampling in samplings), default=1)
        prompts = [self.tok_encode(request.args[0]) for request in requests]
        engine = wide_engine(self.lm, max(map(len, prompts), default=1), most)
        cut = [_shortened(ids, sampling, engine.context) for ids, sampling in zip(prompts, samplings, strict=True)]
        self._tell([len(after) < len(before) for after, before in zip(cut, prompts, strict=True)])
        asked = [Request(ids=tuple(ids), sampling=how) for ids, how in zip(cut, samplings, strict=True)]
        found = [completion.text for completion in run_all(engine, asked)]
        for request, text in zip(requests, found, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, text)
        return found

    @staticmethod
    def _tell(cut: Sequence[bool]) -> None:
        if any(cut):
            warnings.warn(
                f"{sum(cut)} of {len(cut)} contexts are too long for the model: they lost their beginning, but <bos>",
                stacklevel=3,
            )


def _shortened(ids: list[int], sampling: Sampling, context: int | None) -> list[int]:
    """A prompt that leaves room for its answer: of a longer one the beginning goes, `<bos>` excepted."""
    if context is None:
        return ids
    room = context - (sampling.max_tokens or 1)
    if room < 2:
        raise UserError(
            f"answers of {sampling.max_tokens} tokens leave no room in a context of {context}",
            hint="leave this task to a model with a longer context",
        )
    return ids if len(ids) <= room else ids[:1] + ids[len(ids) - room + 1 :]


def _sampling(wanted: Mapping[str, Any], number: int) -> Sampling:
    """What a task asks for, in our words; `number` seeds what is drawn. Raises `UserError` for what we do not know."""
    if unknown := sorted(wanted.keys() - _KNOWN):
        raise UserError(
            f"the task wants {', '.join(unknown)} when it draws text", hint=f"known are {', '.join(sorted(_KNOWN))}"
        )
    until = wanted.get("until") or ()
    drawn = wanted.get("do_sample", float(wanted.get("temperature", 0)) > 0)
    return Sampling(
        max_tokens=next((int(wanted[name]) for name in _LENGTHS if wanted.get(name) is not None), _MAX_TOKENS),
        temperature=float(wanted.get("temperature", 1)) if drawn else 0.0,
        seed=number,
        stop=tuple(text for text in ([until] if isinstance(until, str) else until) if text),
        **{name: wanted[name] for name in _DRAWING if wanted.get(name) is not None},
    )
