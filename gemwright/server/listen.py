"""The listening side: uvicorn with limits on what a connection may do before and after its request. Needs uvicorn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gemwright.server.settings import Settings

if TYPE_CHECKING:
    import uvicorn


def protocol(settings: Settings) -> Any:
    """uvicorn's HTTP/1.1 connection, closed where its headers do not end in `header_seconds`, and cut where its reader
    leaves what was sent unread for `stall_seconds`."""
    from h11 import LocalProtocolError
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Connection(H11Protocol):
        _head: asyncio.TimerHandle | None = None
        _stall: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._head = self.loop.call_later(settings.header_seconds, transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:  # the headers are there
                if self._head is not None:
                    self._head.cancel()
                    self._head = None
            elif self._head is None:
                self._head = self.loop.call_later(settings.header_seconds, self.transport.abort)

        def send_400_response(self, msg: str) -> None:
            try:
                super().send_400_response(msg)
            except LocalProtocolError:  # it was answered before its body broke
                self.transport.abort()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._stall = self.loop.call_later(settings.stall_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._stall is not None:
                self._stall.cancel()
                self._stall = None

        def connection_lost(self, exc: Exception | None) -> None:
            for timer in (self._head, self._stall):
                if timer is not None:
                    timer.cancel()
            super().connection_lost(exc)

    return Connection


def server(app: Any, settings: Settings, *, host: str, port: int, log_level: str = "warning") -> uvicorn.Server:
    """A server for `app`, to `run()`. On SIGTERM it takes no more connections and lets what is under way end."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            app.state.service.draining = True
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol(settings),
        ws="none",
        log_level=log_level,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=settings.header_bytes,
        timeout_graceful_shutdown=int(settings.drain_seconds) + 1,
    )
    return Server(config)
