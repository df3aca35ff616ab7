"""What each route does, apart from HTTP's own objects: who asks, what for, what they get."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from gemwright.engine.request import Request, Sampling
from gemwright.errors import UserError
from gemwright.lm import LM
from gemwright.server.answers import Answer, Pieces
from gemwright.server.ask import NOTHING, Ask, Fetched, addresses, embedded, of_chat, of_completion, of_response
from gemwright.server.embeddings import as_json, pooled
from gemwright.server.errors import SERVER, ApiError, as_api_error, draining
from gemwright.server.fetch import Fetcher
from gemwright.server.flight import Flight, Receive
from gemwright.server.limits import Door, full
from gemwright.server.metrics import Metrics
from gemwright.server.post import Post
from gemwright.server.prompts import Prompts
from gemwright.server.responses import Response
from gemwright.server.schema import AnyBody, ChatBody, CompletionBody, EmbeddingsBody, MessageIn, ResponsesBody, parse
from gemwright.server.settings import Settings
from gemwright.server.worker import Worker

log = logging.getLogger(__name__)

Chunks = AsyncIterator[str]
T = TypeVar("T")

_LARGE = 2**16  # bytes of a body
_encoded = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # made once: there are many chunks


class Visit:
    """One request from its arrival to its last byte. `tokens`: what its key pays for."""

    def __init__(self, service: Service, who: str, route: str) -> None:
        self.route, self.who = route, who
        self.flight: Flight | None = None
        self.tokens = 0
        self.began = asyncio.get_running_loop().time()
        self.deadline = self.began + service.settings.request_seconds
        self._service = service
        self._open = True

    def end(self, status: int) -> None:
        """The visit is over; the first call counts."""
        if not self._open:
            return
        self._open = False
        service, flight = self._service, self.flight
        if flight is not None:
            flight.close()
            self.tokens += flight.tokens
            service.count(flight)
        service.door.leave(self.who, self.tokens)
        seconds = asyncio.get_running_loop().time() - self.began
        service.metrics.requests.labels(self.route, str(status)).inc()
        service.metrics.whole.labels(self.route).observe(seconds)


class Service:
    """One model and those who ask it. For the event loop's thread."""

    def __init__(self, lm: LM, settings: Settings) -> None:
        self.lm, self.settings = lm, settings
        self.name = settings.name or lm.spec.name
        if self.name in lm.adapters:
            raise UserError(f"an adapter and the model are both called {self.name!r}", hint="choose another name")
        # Many come with one system text, and again with their whole conversation.
        engine = lm.start(reuse=settings.reuse)
        self.places = engine.sequences
        self.post = Post()
        self.worker = Worker(engine, told=self.post.send)
        self.door = Door(settings)
        self.metrics = Metrics(lambda: self.worker.load)
        self.prompts = Prompts(lm, settings)
        self.fetcher = Fetcher(size=settings.remote_bytes, seconds=settings.remote_seconds)
        # Pictures take long to decode: on one thread of their own they never wait before a text.
        self._looking = ThreadPoolExecutor(1, "pictures")
        self._looks = 0  # requests whose pictures are decoded or wait for it
        self.pieces = Pieces(lm.tokenizer)
        self.created = int(time.time())
        self.draining = False

    # ------------------------------------------------------------------------------------------------------- routes

    async def chat(self, visit: Visit, data: bytes, receive: Receive) -> dict[str, Any] | Chunks:
        """/v1/chat/completions: JSON, or the lines of a stream."""
        body = await _parsed(ChatBody, data)
        fetched = await self._fetched(body.messages, len(data), "messages")
        return await self._drawn(visit, await _aside(data, lambda: of_chat(body, fetched)), receive)

    async def completion(self, visit: Visit, data: bytes, receive: Receive) -> dict[str, Any] | Chunks:
        """/v1/completions."""
        body = await _parsed(CompletionBody, data)
        return await self._drawn(visit, await _aside(data, lambda: of_completion(body)), receive)

    async def response(self, visit: Visit, data: bytes, receive: Receive) -> dict[str, Any] | Chunks:
        """/v1/responses."""
        body = await _parsed(ResponsesBody, data)
        fetched = NOTHING if isinstance(body.input, str) else await self._fetched(body.input, len(data), "input")
        ask = await _aside(data, lambda: of_response(body, fetched))
        flight = await self._fly(visit, ask, receive)
        answer = Response(body, ask.model or self.name, self.pieces)
        if ask.stream:
            return await self._started(self._response_events(flight, visit, answer), visit)
        async for _ in self._timed(flight, visit):
            pass
        return answer.whole(flight.done[0])

    async def embeddings(self, visit: Visit, data: bytes, receive: Receive) -> dict[str, Any]:
        """/v1/embeddings."""
        body = await _parsed(EmbeddingsBody, data)
        self.check_model(body.model)
        inputs = embedded(body, self.lm.spec.width)
        if len(inputs) > self.settings.embedding_inputs:
            most = self.settings.embedding_inputs
            raise ApiError(400, f"{len(inputs)} inputs are more than the {most} that may come at once", param="input")
        self._check_open()
        if self.worker.jobs >= max(1, self.settings.waiting):
            raise full(self.worker.jobs, self.settings.waiting)
        plain = Sampling()
        ids = await asyncio.to_thread(lambda: [self.prompts.request(one, plain).ids for one in inputs])
        visit.tokens = sum(map(len, ids))
        late = visit.deadline - asyncio.get_running_loop().time()
        lm, adapter = self.lm, self.prompts.adapter(body.model)
        job = asyncio.wrap_future(self.worker.call(lambda: pooled(lm.model, ids, lm.adapters, adapter)))
        try:
            vectors = await asyncio.wait_for(job, late)
        except TimeoutError:
            raise ApiError(408, "the request took longer than the server allows", kind=SERVER, code="timeout") from None
        return as_json(vectors, body.model or self.name, visit.tokens, body.encoding_format)

    def models(self) -> list[dict[str, Any]]:
        """What /v1/models says: the model, and each adapter as a model of its own."""
        return [self.model(name) for name in (self.name, *self.lm.adapters)]

    def model(self, name: str) -> dict[str, Any]:
        """What /v1/models says of the model, or of an adapter, whose `parent` it is."""
        described = {"context_length": self.prompts.context, "images": self.prompts.sees}
        if name != self.name:
            described["parent"] = self.name
        return {"id": name, "object": "model", "created": self.created, "owned_by": "gemwright"} | described

    # ------------------------------------------------------------------------------------------------------- pieces

    def check_model(self, name: str | None) -> None:
        """Raises `ApiError` 404 for a name that is neither the model's nor an adapter's; no name means the model."""
        if name is not None and name != self.name and name not in self.lm.adapters:
            served = ", ".join(map(repr, (self.name, *self.lm.adapters)))
            message = f"the model {name[:200]!r} is not served here: there is {served}"
            raise ApiError(404, message, param="model", code="model_not_found")

    def count(self, flight: Flight) -> None:
        """Books a flight's tokens."""
        read = sum(one.usage.prompt - one.usage.cached for one in flight.done)
        cached = sum(one.usage.cached for one in flight.done)
        proposed = sum(one.usage.proposed for one in flight.done)
        accepted = sum(one.usage.accepted for one in flight.done)
        guessed = (("proposed", proposed), ("accepted", accepted))
        for kind, tokens in (("read", read), ("cached", cached), ("drawn", flight.drawn), *guessed):
            self.metrics.tokens.labels(kind).inc(tokens)
        if flight.reason is not None:
            self.metrics.cancelled.labels(flight.reason).inc()

    async def _fly(self, visit: Visit, ask: Ask, receive: Receive) -> Flight:
        """The request's answers, on their way. Raises `ApiError` where there is no room for them."""
        self.check_model(ask.model)
        answers = len(ask.prompts) * ask.n
        if answers > self.settings.choices:
            raise ApiError(400, f"{answers} answers are asked for, {self.settings.choices} may be at once", param="n")
        self._check_room(answers)  # before the work, and after it: others came meanwhile
        requests = await self._requests(ask)
        self._check_room(answers)
        limits = {"deadline": visit.deadline, "backlog": self.settings.backlog}
        flight = Flight(self.worker, requests, post=self.post, **limits)
        visit.flight = flight
        flight.start(receive)
        return flight

    def _check_open(self) -> None:
        if self.draining or not self.worker.alive:
            raise draining()

    def _check_room(self, answers: int) -> None:
        self._check_open()
        if self.worker.load + answers > self.places + self.settings.waiting:
            raise full(max(0, self.worker.load - self.places), self.settings.waiting)

    async def _requests(self, ask: Ask) -> list[Request]:
        """The request in the engine's terms, made on another thread."""
        if not ask.shows:
            return await asyncio.to_thread(self.prompts.requests, ask)
        if self._looks > self.settings.waiting:
            raise full(self._looks, self.settings.waiting)
        self._looks += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._looking, self.prompts.requests, ask)
        finally:
            self._looks -= 1

    async def _fetched(self, messages: Sequence[MessageIn], size: int, param: str) -> Fetched:
        """The pictures that messages show by their addresses, where that is allowed; they and the body, of `size`
        bytes, may together be as large as a body. `param`: where the messages stand in it."""
        urls = addresses(messages) if self.settings.remote_images else []
        if len(urls) > self.settings.images:
            raise ApiError(400, f"{len(urls)} pictures are more than the {self.settings.images} of one request")
        try:
            return await self.fetcher.all(urls, self.settings.body_bytes - size) if urls else NOTHING
        except UserError as error:
            raise ApiError(400, str(error), param=param, code="invalid_image_url") from error

    async def _drawn(self, visit: Visit, ask: Ask, receive: Receive) -> dict[str, Any] | Chunks:
        flight = await self._fly(visit, ask, receive)
        answer = Answer(ask, ask.model or self.name, self.pieces)
        if ask.stream:
            return await self._started(self._chunks(flight, visit, answer, ask.include_usage), visit)
        async for _ in self._timed(flight, visit):
            pass
        return answer.whole(flight.done)

    async def _timed(self, flight: Flight, visit: Visit) -> AsyncIterator[tuple[int, Any]]:
        """The flight's events; the first one's time is measured."""
        first = True
        async for index, event in flight.events():
            if first:
                self.metrics.first.observe(asyncio.get_running_loop().time() - visit.began)
                first = False
            yield index, event

    async def _chunks(self, flight: Flight, visit: Visit, answer: Answer, include_usage: bool) -> AsyncIterator[str]:
        opened: set[int] = set()
        async for index, event in self._timed(flight, visit):
            if index not in opened:
                opened.add(index)
                if (head := answer.first(index)) is not None:
                    yield _data(head)
            for chunk in answer.parts(index, event):
                yield _data(chunk)
        if include_usage:
            yield _data(answer.total(flight.done))
        yield "data: [DONE]\n\n"

    async def _response_events(self, flight: Flight, visit: Visit, answer: Response) -> AsyncIterator[str]:
        begun = False
        async for _, event in self._timed(flight, visit):
            if not begun:
                begun = True
                for head in answer.begin():
                    yield _event(head)
            if (chunk := answer.part(event)) is not None:
                yield _event(chunk)
            if event.completion is not None:
                for tail in answer.end(event.completion):
                    yield _event(tail)

    async def _started(self, chunks: AsyncIterator[str], visit: Visit) -> Chunks:
        """A stream whose first line is there: what is wrong with a request shows before it, and is answered with a
        status of its own."""
        first = await anext(chunks)

        async def rest() -> AsyncIterator[str]:
            status = 200
            try:
                yield first
                async for chunk in chunks:
                    yield chunk
            except Exception as error:
                status = self.refusal(error).status
                yield (
                    _event({"type": "error", **self.refusal(error).body()})
                    if visit.route == "/v1/responses"
                    else (_data(self.refusal(error).body()))
                )
            finally:
                visit.end(status)

        return rest()

    def refusal(self, error: BaseException) -> ApiError:
        """Any failure as an answer; what nobody expected goes to the log."""
        found = as_api_error(error)
        if found.code == "internal_error":
            log.error("a request failed", exc_info=error)
        return found

    def ask_worker(self, look: Callable[[], Any]) -> asyncio.Future[Any]:
        """The value of a function that must run on the engine's thread. Raises `Stopped` where that has ended."""

        def job() -> Any:
            return look()
            yield

        return asyncio.wrap_future(self.worker.call(job))


async def _parsed(kind: type[AnyBody], data: bytes) -> AnyBody:
    """The body, checked."""
    return await _aside(data, lambda: parse(kind, data))


async def _aside(data: bytes, work: Callable[[], T]) -> T:
    """What `work` makes of a body; of a large one on another thread, so that other clients do not wait for it."""
    return await asyncio.to_thread(work) if len(data) > _LARGE else work()


def _data(tree: dict[str, Any]) -> str:
    return f"data: {_encoded(tree)}\n\n"


def _event(tree: dict[str, Any]) -> str:
    return f"event: {tree['type']}\n{_data(tree)}"
