"""The engine's answer as OpenAI's responses route gives it: one object, or the events that build it. Plain data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from gemwright.engine.request import Completion, Event
from gemwright.server.answers import Pieces, new_id
from gemwright.server.schema import ResponsesBody


class Response:
    """Builds the response object of one request, and its stream of numbered events."""

    def __init__(self, body: ResponsesBody, model: str, pieces: Pieces) -> None:
        self._body, self._model, self._pieces = body, model, pieces
        self._logprobs = body.top_logprobs is not None or bool(body.include)
        self._number = 0
        self.id, self._item = new_id("resp_"), new_id("msg_")
        self._created = int(time.time())

    def whole(self, completion: Completion) -> dict[str, Any]:
        """The response when all is drawn; `incomplete` where the limit of tokens ended it."""
        cut = completion.finish_reason == "length"
        usage = completion.usage
        return self._object("incomplete" if cut else "completed") | {
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [self._message(completion)],
            "usage": {
                "input_tokens": usage.prompt,
                "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
                "output_tokens": usage.completion,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage.prompt + usage.completion,
            },
        }

    def begin(self) -> Iterator[dict[str, Any]]:
        """The events before the first token."""
        response = self._object("in_progress")
        yield self._event("response.created", response=response)
        yield self._event("response.in_progress", response=response)
        item = {"id": self._item, "type": "message", "status": "in_progress", "role": "assistant", "content": []}
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event("response.content_part.added", **self._where(), part=self._text("", []))

    def part(self, event: Event) -> dict[str, Any] | None:
        """The event of one drawn token; None where it has nothing to show."""
        token = event.logprob if event.logprob is not None and not self._pieces.is_mark(event.logprob.id) else None
        if not event.text and token is None:
            return None
        logprobs = self._pieces.chat([token] if token else [])
        return self._event("response.output_text.delta", **self._where(), delta=event.text, logprobs=logprobs)

    def end(self, completion: Completion) -> Iterator[dict[str, Any]]:
        """The events after the last token."""
        message = self._message(completion)
        content = message["content"][0]
        where = self._where()
        yield self._event("response.output_text.done", **where, text=completion.text, logprobs=content["logprobs"])
        yield self._event("response.content_part.done", **where, part=content)
        yield self._event("response.output_item.done", output_index=0, item=message)
        whole = self.whole(completion)
        yield self._event(f"response.{whole['status']}", response=whole)

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1, **fields}

    def _where(self) -> dict[str, Any]:
        return {"item_id": self._item, "output_index": 0, "content_index": 0}

    def _message(self, completion: Completion) -> dict[str, Any]:
        logprobs = self._pieces.chat(self._pieces.shown(completion)) if self._logprobs else []
        status = "incomplete" if completion.finish_reason == "length" else "completed"
        frame = {"id": self._item, "type": "message", "status": status, "role": "assistant"}
        return frame | {"content": [self._text(completion.text, logprobs)]}

    @staticmethod
    def _text(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}

    def _object(self, status: str) -> dict[str, Any]:
        body = self._body
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "model": self._model,
            "output": [],
            "parallel_tool_calls": True if body.parallel_tool_calls is None else body.parallel_tool_calls,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": body.temperature,
            "text": {"format": (body.text or {}).get("format") or {"type": "text"}},
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None,
            "metadata": body.metadata if isinstance(body.metadata, dict) else {},
        }
