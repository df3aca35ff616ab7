"""Connections that do nothing are cut."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gemwright.server.listen import protocol
from gemwright.server.settings import Settings


class Transport(asyncio.Transport):
    """A connection that only remembers whether it was cut."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = False

    def abort(self) -> None:
        self.cut = True

    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return self.cut


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.Event().wait()


def after(seconds: float, *steps: str) -> bool:
    """Whether a connection is cut within that time after what happened to it."""

    async def whole() -> bool:
        import uvicorn
        from uvicorn.server import ServerState

        kind = protocol(Settings(header_seconds=0.05, stall_seconds=0.05))
        connection = kind(config=uvicorn.Config(nothing, ws="none"), server_state=ServerState(), app_state={})
        transport = Transport()
        connection.connection_made(transport)
        for step in steps:
            if step in ("pause", "resume"):
                getattr(connection, f"{step}_writing")()
            else:
                connection.data_received(step.encode())
        await asyncio.sleep(seconds)
        found = transport.cut
        connection.connection_lost(ConnectionResetError())
        for task in connection.tasks:
            task.cancel()
        return found

    return asyncio.run(whole())


WHOLE = "GET / HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.mark.parametrize(
    ("steps", "cut"),
    [
        ((), True),
        (("GET / HTTP/1.1\r\nHo",), True),
        ((WHOLE,), False),
        ((WHOLE, "pause"), True),
        ((WHOLE, "pause", "resume"), False),
    ],
)
def test_a_connection_is_cut_without_headers_or_without_a_reader(steps: tuple[str, ...], cut: bool) -> None:
    assert after(0.2, *steps) is cut
