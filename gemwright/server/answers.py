"""The engine's answers as OpenAI's chat and completion routes give them, whole and in chunks. Plain data."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from gemwright.engine.request import Completion, Event, TokenLogprob
from gemwright.server.ask import Ask
from gemwright.text.calls import Arguments, Begin, CallStream, End, parse
from gemwright.text.tokenizer import Tokenizer

_LEAST = -9999.0  # OpenAI's number for what has no probability at all; JSON has no infinity


def new_id(prefix: str) -> str:
    """A name that nobody else has."""
    return f"{prefix}{secrets.token_hex(12)}"


class Pieces:
    """Tokens as answers show them."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer

    def bytes_of(self, id: int) -> bytes:
        """The bytes that a token adds to the text; a special piece's name."""
        tokenizer = self._tokenizer
        if tokenizer is None or id >= tokenizer.vocab_size:
            return b""
        return tokenizer.piece(id).encode() if id in tokenizer.special_ids else tokenizer.bytes_of(id)

    def entry(self, id: int, logprob: float) -> dict[str, Any]:
        """A token with its log-probability."""
        data = self.bytes_of(id)
        return {"token": data.decode("utf-8", "replace"), "logprob": number(logprob), "bytes": list(data)}

    def chat(self, tokens: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
        """Log-probabilities in the form of chats and responses."""
        return [
            self.entry(token.id, token.logprob) | {"top_logprobs": [self.entry(*rival) for rival in token.top]}
            for token in tokens
        ]

    def completion(self, tokens: Sequence[TokenLogprob], offset: int = 0) -> dict[str, Any]:
        """Log-probabilities in the form of completions; `offset`: characters of the text before them."""
        texts = [self.bytes_of(token.id).decode("utf-8", "replace") for token in tokens]
        offsets = list(accumulate(map(len, texts[:-1]), initial=offset)) if texts else []
        tops = []
        for token in tokens:
            top: dict[str, float] = {}
            for id, value in token.top:  # the likeliest of those that look alike
                top.setdefault(self.bytes_of(id).decode("utf-8", "replace"), number(value))
            tops.append(top)
        return {
            "tokens": texts,
            "token_logprobs": [number(token.logprob) for token in tokens],
            "top_logprobs": tops,
            "text_offset": offsets,
        }

    def shown(self, completion: Completion) -> tuple[TokenLogprob, ...]:
        """An answer's log-probabilities, without the mark that ended it."""
        tokens = completion.logprobs or ()
        return tokens[:-1] if tokens and self.is_mark(tokens[-1].id) else tokens

    def is_mark(self, id: int) -> bool:
        """Whether a token is a special piece, which no text shows."""
        return self._tokenizer is not None and id in self._tokenizer.special_ids


def number(value: float) -> float:
    """A log-probability that JSON can hold."""
    return max(value, _LEAST) if math.isfinite(value) else _LEAST


def usage(completions: Sequence[Completion], n: int) -> dict[str, Any]:
    """Tokens of all answers; a prompt with `n` answers counts once, as read by its first."""
    firsts = completions[::n]
    prompt = sum(one.usage.prompt for one in firsts)
    drawn = sum(one.usage.completion for one in completions)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": drawn,
        "total_tokens": prompt + drawn,
        "prompt_tokens_details": {"cached_tokens": sum(one.usage.cached for one in firsts)},
        "completion_tokens_details": {
            "accepted_prediction_tokens": sum(one.usage.accepted for one in completions),
            "rejected_prediction_tokens": sum(one.usage.proposed - one.usage.accepted for one in completions),
        },
    }


class Answer:
    """Builds the JSON of one request: whole, or chunk by chunk."""

    def __init__(self, ask: Ask, model: str, pieces: Pieces) -> None:
        self._ask, self._pieces = ask, pieces
        self._chat = ask.route == "chat"
        self._offsets: dict[int, int] = {}
        self._streams: dict[int, CallStream] = {}
        self._called: set[int] = set()  # the answers that made a call
        self.id = new_id("chatcmpl-" if self._chat else "cmpl-")
        self._frame: dict[str, Any] = {"id": self.id, "created": int(time.time()), "model": model}

    def whole(self, completions: Sequence[Completion]) -> dict[str, Any]:
        """The answer when all is drawn."""
        choices = [self._choice(index, one) for index, one in enumerate(completions)]
        kind = "chat.completion" if self._chat else "text_completion"
        return self._frame | {"object": kind, "choices": choices, "usage": usage(completions, self._ask.n)}

    def first(self, index: int) -> dict[str, Any] | None:
        """The chunk that opens an answer; a completion has none."""
        if not self._chat:
            return None
        return self._chunk({"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None})

    def parts(self, index: int, event: Event) -> Iterator[dict[str, Any]]:
        """The chunks of one drawn token, the one that ends the answer included."""
        token = event.logprob if event.logprob is not None and not self._pieces.is_mark(event.logprob.id) else None
        logprobs = None if token is None else self._logprobs([token], self._offsets.get(index, 0))
        self._offsets[index] = self._offsets.get(index, 0) + len(event.text)
        completion = event.completion
        deltas = self._deltas(index, event.text, completion is not None) if self._chat else []
        if not self._chat and event.text:
            deltas = [{"text": event.text}]
        if not deltas and logprobs is not None:
            deltas = [{"content": ""} if self._chat else {"text": ""}]
        for delta in deltas:
            choice = {"index": index, "finish_reason": None, "logprobs": logprobs}
            yield self._chunk(choice | ({"delta": delta} if self._chat else delta))
            logprobs = None
        if completion is not None:
            called = index in self._called and completion.finish_reason == "stop"
            reason = "tool_calls" if called else completion.finish_reason
            choice = {"index": index, "finish_reason": reason, "logprobs": None}
            yield self._chunk(choice | ({"delta": {}} if self._chat else {"text": ""}))

    def _deltas(self, index: int, text: str, last: bool) -> list[dict[str, Any]]:
        """What a piece of a reply adds to a message: words, and calls as they grow."""
        names = self._ask.structure.names
        if not names:
            return [{"content": text}] if text else []
        stream = self._streams.setdefault(index, CallStream(names))
        deltas = []
        for part in [*stream.push(text), *(stream.flush() if last else ())]:
            if isinstance(part, Begin):
                function = {"name": part.name, "arguments": ""}
                call = {"index": part.index, "id": new_id("call_"), "type": "function", "function": function}
                deltas.append({"tool_calls": [call]})
            elif isinstance(part, Arguments):
                deltas.append({"tool_calls": [{"index": part.index, "function": {"arguments": part.text}}]})
            elif isinstance(part, End):
                self._called.add(index)
            elif part.text:
                deltas.append({"content": part.text})
        return deltas

    def total(self, completions: Sequence[Completion]) -> dict[str, Any]:
        """The chunk with the usage, for who asked for it."""
        return self._chunk(None) | {"usage": usage(completions, self._ask.n)}

    def _chunk(self, choice: dict[str, Any] | None) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        chunk = self._frame | {"object": kind, "choices": [] if choice is None else [choice]}
        return chunk | ({"usage": None} if self._ask.include_usage else {})

    def _choice(self, index: int, completion: Completion) -> dict[str, Any]:
        logprobs = None if completion.logprobs is None else self._logprobs(self._pieces.shown(completion), 0)
        choice: dict[str, Any] = {"index": index, "finish_reason": completion.finish_reason, "logprobs": logprobs}
        if not self._chat:
            return choice | {"text": completion.text}
        message: dict[str, Any] = {"role": "assistant", "content": completion.text, "refusal": None}
        names = self._ask.structure.names
        if names and (reply := parse(completion.text, names)).calls:
            if completion.finish_reason == "stop":
                choice["finish_reason"] = "tool_calls"
            message["content"] = reply.text or None
            message["tool_calls"] = [
                {
                    "id": new_id("call_"),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in reply.calls
            ]
        return choice | {"message": message}

    def _logprobs(self, tokens: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
        if self._chat:
            return {"content": self._pieces.chat(tokens), "refusal": None}
        return self._pieces.completion(tokens, offset)
