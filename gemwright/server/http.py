"""The server's HTTP side: routes, keys, sizes, streams. Needs the extra `serve`."""

# No `from __future__ import annotations` here: FastAPI reads the handlers' annotations, whose names are local.

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemwright.errors import UserError
from gemwright.lm import LM
from gemwright.server.document import add_bodies, body_of
from gemwright.server.errors import GONE, SERVER, ApiError, left
from gemwright.server.schema import ChatBody, CompletionBody, EmbeddingsBody, ResponsesBody
from gemwright.server.service import Service, Visit
from gemwright.server.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.responses import Response

Route = Callable[[Visit, bytes, Any], Awaitable[Any]]

_WEB = Path(__file__).parent / "web"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def app(lm: LM, settings: Settings | None = None) -> "FastAPI":
    """The application that serves a model. Its engine works on a thread that lives as long as the application does.

    Raises `UserError` where the extra `serve` is not installed.
    """
    try:
        from fastapi import FastAPI
    except ImportError as error:
        hint = "pip install 'gemwright[serve]'"
        raise UserError("the server needs FastAPI, uvicorn and prometheus-client", hint=hint) from error

    settings = settings or Settings()
    service = Service(lm, settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        service.worker.start()
        yield
        service.draining = True
        await asyncio.to_thread(service.worker.stop, settings.drain_seconds)
        await asyncio.to_thread(service.lm.engine.close)

    built = FastAPI(title="Gemwright", lifespan=life, docs_url=None, redoc_url=None)
    built.state.service = service
    _add_asking(built, service)
    _add_watching(built, service)
    _add_refusals(built, service)
    if settings.origins:
        from fastapi.middleware.cors import CORSMiddleware

        built.add_middleware(
            CORSMiddleware, allow_origins=list(settings.origins), allow_methods=["*"], allow_headers=["*"]
        )
    if (_WEB / "index.html").is_file():
        _add_page(built)
    add_bodies(built)
    return built


def _add_asking(app: "FastAPI", service: Service) -> None:
    """The routes that ask the model."""
    from fastapi import Request

    @app.post("/v1/chat/completions", openapi_extra=body_of(ChatBody))
    async def chat(request: Request):
        """An answer to a conversation."""
        return await _answer(request, service, service.chat)

    @app.post("/v1/completions", openapi_extra=body_of(CompletionBody))
    async def completions(request: Request):
        """A continuation of a text."""
        return await _answer(request, service, service.completion)

    @app.post("/v1/responses", openapi_extra=body_of(ResponsesBody))
    async def responses(request: Request):
        """An answer to a conversation, in the form of OpenAI's responses."""
        return await _answer(request, service, service.response)

    @app.post("/v1/embeddings", openapi_extra=body_of(EmbeddingsBody))
    async def embeddings(request: Request):
        """Pooled hidden states of a language model: no vectors made for retrieval."""
        return await _answer(request, service, service.embeddings)


def _add_watching(app: "FastAPI", service: Service) -> None:
    """The routes that tell of the server."""
    from fastapi import Request
    from fastapi.responses import Response

    @app.get("/v1/models")
    async def models(request: Request):
        """The models served here: one, and the adapters beside it."""
        service.door.who(request.headers.get("authorization"))
        return {"object": "list", "data": service.models()}

    @app.get("/v1/models/{name:path}")
    async def model(request: Request, name: str):
        """What is known of a model."""
        service.door.who(request.headers.get("authorization"))
        service.check_model(name)
        return service.model(name)

    @app.get("/cache")
    async def cache_state(request: Request):
        """What the cache holds."""
        service.door.who(request.headers.get("authorization"))
        return await service.ask_worker(lambda: asdict(service.lm.engine.held()))

    @app.get("/metrics")
    async def metrics(request: Request):
        """Counters for Prometheus."""
        service.door.who(request.headers.get("authorization"))
        text, kind = service.metrics.text()
        return Response(text, media_type=kind)

    @app.get("/health")
    async def health():
        """Whether the process works."""
        return _state(service.worker.alive, "ok", "the engine's thread has ended")

    @app.get("/ready")
    async def ready():
        """Whether it takes requests."""
        return _state(service.worker.alive and not service.draining, "ready", "the server is shutting down")


def _add_refusals(app: "FastAPI", service: Service) -> None:
    """Every refusal in OpenAI's shape, those of the framework too."""
    from fastapi import Request

    @app.exception_handler(ApiError)
    @app.exception_handler(UserError)
    async def refused(_: Request, error: Exception):
        return _refused(service, error)

    async def unknown(request: Request, error: Exception):
        status = getattr(error, "status_code", 404)
        message = f"{request.method} {request.url.path[:200]}: {getattr(error, 'detail', 'not found')}"
        return _refused(service, ApiError(status, message, code="not_found" if status == 404 else "method_not_allowed"))

    for status in (404, 405):
        app.add_exception_handler(status, unknown)


def _add_page(app: "FastAPI") -> None:
    """The web page, which asks for nothing but this server's own files; each is a route."""
    for file in sorted(path for path in _WEB.rglob("*") if path.suffix in _TYPES):
        name = file.relative_to(_WEB).as_posix()
        route = "/" if name == "index.html" else f"/{name}"
        app.add_api_route(route, _sender(file), methods=["GET"], include_in_schema=False)


def _sender(file: Path) -> Callable[[], Awaitable[Any]]:
    from fastapi.responses import FileResponse

    async def send():  # without parameters: FastAPI would take them from the address
        return FileResponse(file, media_type=_TYPES[file.suffix], headers=_PAGE_HEADERS)

    return send


async def _answer(request: Any, service: Service, route: Route) -> "Response":
    """Lets a request in, runs its route, and sees it out, whatever happens."""
    from fastapi.responses import JSONResponse

    where = request.url.path
    try:
        who = service.door.who(request.headers.get("authorization"))
        service.door.enter(who)
    except ApiError as error:
        service.metrics.requests.labels(where, str(error.status)).inc()
        return _refused(service, error)
    visit = Visit(service, who, where)
    status = 500
    try:
        found = await route(visit, await _body(request, service.settings), request.receive)
        status = 200
        if isinstance(found, dict):
            return JSONResponse(found)
        return _closing()(visit, found)
    except Exception as error:
        response = _refused(service, error)
        status = response.status_code
        return response
    except BaseException:
        status = GONE
        raise
    finally:
        if status != 200 or isinstance(found, dict):
            visit.end(status)


async def _body(request: Any, settings: Settings) -> bytes:
    """The body, if it is not too large, whether its length was declared or not. A sender that pauses for too long is
    cut off."""
    from starlette.requests import ClientDisconnect

    limit = settings.body_bytes
    too_large = ApiError(413, f"the body has more than {limit} bytes", code="body_too_large", close=True)
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
        raise too_large
    parts, size = [], 0
    chunks = request.stream()
    while True:
        try:
            part = await asyncio.wait_for(anext(chunks), settings.stall_seconds)
        except StopAsyncIteration:
            return b"".join(parts)
        except ClientDisconnect:
            raise left() from None
        except TimeoutError:
            message = f"nothing of the body came for {settings.stall_seconds:g} s"
            raise ApiError(408, message, kind=SERVER, code="timeout", close=True) from None
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)


@cache
def _closing() -> Any:
    from fastapi.responses import StreamingResponse

    class Closing(StreamingResponse):
        """A stream that ends its visit also where it was never read."""

        def __init__(self, visit: Visit, chunks: AsyncIterator[str]) -> None:
            headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            super().__init__(chunks, media_type="text/event-stream", headers=headers)
            self._visit = visit

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            try:
                await super().__call__(scope, receive, send)
            finally:
                self._visit.end(GONE)

    return Closing


def _refused(service: Service, error: BaseException) -> "Response":
    from fastapi.responses import JSONResponse

    found = service.refusal(error)
    return JSONResponse(found.body(), status_code=found.status, headers=found.headers())


def _state(good: bool, word: str, trouble: str) -> "Response":
    from fastapi.responses import Response

    return Response(json.dumps({"status": word if good else trouble}), 200 if good else 503, None, "application/json")
