"""Offline work: a file of requests in, a file of answers out, in the same order. Nothing of HTTP is needed.

A line is a request of OpenAI's batch format, `{"custom_id", "method", "url", "body"}`, or a body alone: one with
`messages` is a chat, one with `prompt` a completion; it is then called by its line, `line-7`. Every line of the output
is written whole and at once, so that a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from gemwright.data.jsonl import line as json_line
from gemwright.data.records import Malformed, json_lines
from gemwright.engine.request import Completion, Event, Sampling
from gemwright.errors import UserError
from gemwright.lm import LM
from gemwright.server.answers import Answer, Pieces, new_id
from gemwright.server.ask import Ask, embedded, of_chat, of_completion, of_response
from gemwright.server.embeddings import as_json, pooled
from gemwright.server.errors import ApiError, as_api_error
from gemwright.server.prompts import Prompts
from gemwright.server.responses import Response
from gemwright.server.schema import ChatBody, CompletionBody, EmbeddingsBody, ResponsesBody, parse
from gemwright.server.settings import Settings
from gemwright.server.worker import Worker

_AHEAD = 256  # rows read and not yet written

CHAT, COMPLETION, RESPONSE, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"
_ROUTES = (CHAT, COMPLETION, RESPONSE, EMBEDDINGS)


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A row without an answer."""

    custom_id: str
    line: int
    error: str


@dataclass(kw_only=True)
class Summary:
    """What a run did. `skipped` rows were in the output already."""

    rows: int
    skipped: int = 0
    answered: int = 0
    failed: list[Failed] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


@dataclass(kw_only=True)
class _Row:
    """A row on its way: what is still to come, and what has."""

    line: int
    id: str
    left: int = 0
    build: Callable[[list[Completion]], dict[str, Any]] | None = None
    completions: list[Completion | None] = field(default_factory=list)
    body: dict[str, Any] | None = None
    error: ApiError | None = None

    @property
    def over(self) -> bool:
        return self.body is not None or self.error is not None


def run_batch(lm: LM, source: Path, out: Path, progress: Callable[[int], object] = lambda done: None) -> Summary:
    """Answers the rows of `source` that `out` does not have, all of them together, and appends them to `out`.

    `progress` hears how many rows are written. Raises `UserError` for a file that cannot be read or written, names that
    stand twice, and an output that belongs to another input.
    """
    began = time.monotonic()
    names = _names(source)
    finished = _finished(out)
    if strangers := finished - names.keys():
        raise UserError(
            f"{out} has a row {min(strangers)!r} that {source} has not",
            hint="it belongs to another input: give another name for the output",
        )
    summary = Summary(rows=len(names), skipped=len(finished))
    try:
        with out.open("ab", buffering=0) as file:
            _Batch(lm, file, summary, progress).run(_rows(source, finished))
            os.fsync(file.fileno())
    except OSError as error:
        said = error.strerror or error
        raise UserError(f"cannot write {out}: {said}", hint="make room, or choose another place") from error
    summary.seconds = time.monotonic() - began
    return summary


class _Batch:
    """One run. The engine works on the worker's thread; rows are read and written on this one."""

    def __init__(self, lm: LM, file: BinaryIO | Any, summary: Summary, progress: Callable[[int], object]) -> None:
        self._lm, self._file, self._summary, self._progress = lm, file, summary, progress
        self._worker = Worker(lm.start(reuse=None))  # rows often begin alike
        self._prompts, self._pieces = Prompts(lm, Settings()), Pieces(lm.tokenizer)
        self._inbox: queue.SimpleQueue[tuple[_Row, int, Any]] = queue.SimpleQueue()
        self._open: list[_Row] = []  # oldest first, as they will be written

    def run(self, rows: Iterator[tuple[int, str, Any]]) -> None:
        self._worker.start()
        try:
            more = True
            while more or self._open:
                while more and len(self._open) < _AHEAD:
                    found = next(rows, None)
                    more = found is not None
                    if found is not None:
                        self._begin(*found)
                self._write()
                if self._open:
                    self._take(*self._inbox.get())
        finally:
            self._worker.stop()

    def _begin(self, line: int, id: str, value: Any) -> None:
        row = _Row(line=line, id=id)
        self._open.append(row)
        try:
            if isinstance(value, Malformed):
                raise ApiError(400, value.message, code="invalid_json")
            route, body = _route_and_body(value)
            if route == EMBEDDINGS:
                self._embed(row, parse(EmbeddingsBody, body))
            else:
                self._draw(row, route, body)
        except Exception as error:  # whatever is wrong with one row, the others go on
            row.error = as_api_error(error)

    def _draw(self, row: _Row, route: str, data: bytes) -> None:
        if route == RESPONSE:
            body = parse(ResponsesBody, data)
            ask = of_response(body)
            response = Response(body, self._name(ask), self._pieces)
            row.build = lambda found: response.whole(found[0])
        else:
            ask = of_chat(parse(ChatBody, data)) if route == CHAT else of_completion(parse(CompletionBody, data))
            answer = Answer(ask, self._name(ask), self._pieces)
            row.build = answer.whole
        self._submit(row, ask)

    def _name(self, ask: Ask) -> str:
        """What the answer says it is from."""
        return self._prompts.adapter(ask.model) or self._lm.spec.name

    def _submit(self, row: _Row, ask: Ask) -> None:
        if ask.stream:
            raise ApiError(400, "a batch cannot stream", param="stream")
        requests = self._prompts.requests(ask)
        row.left, row.completions = len(requests), [None] * len(requests)
        for index, request in enumerate(requests):
            self._worker.submit(request, lambda item, index=index: self._inbox.put((row, index, item)))

    def _embed(self, row: _Row, body: EmbeddingsBody) -> None:
        sampling = Sampling()
        ids = [self._prompts.request(one, sampling).ids for one in embedded(body, self._lm.spec.width)]
        lm, adapter = self._lm, self._prompts.adapter(body.model)

        def done(future: Future[list[list[float]]]) -> None:
            if future.cancelled():
                return
            error = future.exception()
            tokens = sum(map(len, ids))
            found = error or as_json(future.result(), adapter or self._lm.spec.name, tokens, body.encoding_format)
            self._inbox.put((row, 0, found))

        self._worker.call(lambda: pooled(lm.model, ids, lm.adapters, adapter)).add_done_callback(done)

    def _take(self, row: _Row, index: int, item: Any) -> None:
        """What the worker has to say of a row."""
        if row.over:
            return
        if isinstance(item, BaseException):
            row.error = as_api_error(item)
        elif isinstance(item, dict):
            row.body = item
        elif isinstance(item, Event) and item.completion is not None:
            row.completions[index] = item.completion
            row.left -= 1
            self._count(item.completion)
            if not row.left and row.build is not None:
                row.body = row.build([one for one in row.completions if one is not None])

    def _count(self, completion: Completion) -> None:
        usage = completion.usage
        self._summary.prompt_tokens += usage.prompt
        self._summary.cached_tokens += usage.cached
        self._summary.completion_tokens += usage.completion

    def _write(self) -> None:
        """The rows that are over and have none before them that is not: each in one call, a whole line."""
        while self._open and self._open[0].over:
            row = self._open.pop(0)
            status = row.error.status if row.error else 200
            body = row.error.body() if row.error else row.body
            answer = {"status_code": status, "request_id": new_id("req_"), "body": body}
            error = {"code": row.error.code, "message": row.error.message} if row.error else None
            tree = {"id": new_id("batch_req_"), "custom_id": row.id, "response": answer, "error": error}
            self._file.write(json_line(tree))
            if row.error:
                self._summary.failed.append(Failed(custom_id=row.id, line=row.line, error=row.error.message))
            else:
                self._summary.answered += 1
            self._progress(self._summary.skipped + self._summary.answered + len(self._summary.failed))


def _route_and_body(value: Any) -> tuple[str, bytes]:
    """Where a row would have been sent, and what."""
    if not isinstance(value, dict):
        raise ApiError(400, f"a row is an object, not {type(value).__name__}")
    if "url" not in value and "body" not in value:
        body = {key: item for key, item in value.items() if key != "custom_id"}
        if ("messages" in body) == ("prompt" in body):
            raise ApiError(400, "a row has a url and a body, or messages, or a prompt")
        return (CHAT if "messages" in body else COMPLETION), json.dumps(body).encode()
    if unknown := sorted(value.keys() - {"custom_id", "method", "url", "body"}):
        raise ApiError(400, f"a row has no field {unknown[0]!r}", param=unknown[0])
    url = value.get("url")
    if value.get("method", "POST") != "POST" or url not in _ROUTES:
        raise ApiError(400, f"{value.get('method', 'POST')} {url} is none of POST {', '.join(_ROUTES)}", param="url")
    return url, json.dumps(value.get("body")).encode()


def _id(number: int, value: Any) -> str:
    given = value.get("custom_id") if isinstance(value, dict) else None
    return given if isinstance(given, str) and given else f"line-{number}"


def _rows(source: Path, finished: set[str]) -> Iterator[tuple[int, str, Any]]:
    """(line, name, value) of the rows that are not finished."""
    for number, value in json_lines(source):
        if (id := _id(number, value)) not in finished:
            yield number, id, value


def _names(source: Path) -> dict[str, int]:
    """The names of all rows and their lines."""
    names: dict[str, int] = {}
    for number, value in json_lines(source):
        id = _id(number, value)
        if id in names:
            raise UserError(f"{source}: lines {names[id]} and {number} are both called {id!r}", hint="rename one")
        names[id] = number
    return names


def _finished(out: Path) -> set[str]:
    """The names of the rows in an output; half a line at its end, of a machine that stopped, is cut off."""
    if not out.exists():
        return set()
    found: set[str] = set()
    try:
        with out.open("rb+") as file:
            end = 0
            for line in file:
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                found.add(json.loads(line)["custom_id"])
            file.truncate(end)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{out} is not the output of a batch", hint="give another name for the output") from error
    except OSError as error:
        raise UserError(f"cannot use {out}: {error.strerror or error}", hint="check the path") from error
    return found
