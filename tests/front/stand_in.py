"""A small server in the place of the real one: it speaks the routes that the page uses and remembers what it was asked.

What a question says decides how it is answered: "long" goes on until the client leaves or `release` is set, "busy" is
refused while `busy` is true, "cut" ends in the middle, anything else is answered with `answer`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gemwright

WEB = Path(gemwright.__file__).parent / "server" / "web"
POLICY = "default-src 'self'; img-src 'self' data: blob:"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
USAGE = {"prompt_tokens": 1536, "completion_tokens": 48, "prompt_tokens_details": {"cached_tokens": 1024}}


class StandIn(ThreadingHTTPServer):
    """`bodies` and `keys` hold what came to the chat route, `left` is set when a client went away midway."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answer = "A short **answer**."
        self.key = ""  # asked for, if there is one
        self.busy = True
        self.looks = 0  # at /cache
        self.left, self.release = threading.Event(), threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that leaves is no error here."""


class _Handler(BaseHTTPRequestHandler):
    server: StandIn  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/v1/models":
            self._json({"object": "list", "data": [{"id": "gemma-3-1b"}, {"id": "gemma-3-1b:poet"}]}, guarded=True)
        elif path == "/cache":
            self.server.looks += 1
            self._json(self._cache(), guarded=True)
        else:
            file = WEB / ("index.html" if path == "/" else path.removeprefix("/").removeprefix("web/"))
            known = file.parent == WEB and file.is_file()
            self._send(200 if known else 404, _TYPES.get(file.suffix, ""), file.read_bytes() if known else b"")

    def _cache(self) -> dict[str, Any]:
        used = min(self.server.looks, 40)
        return {
            "capacity": {"global": 96 * 2**20, "local": 24 * 2**20, "recurrent": 0},
            "used": {"global": used * 2**21, "local": used * 2**18, "recurrent": 0},
            "kept": {"global": 2**20, "local": 2**18, "recurrent": 0},
            "shared": used * 2**20,
            "sequences": 3,
            "beginnings": 2,
            "waiting": 1,
        }

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._welcome():
            return
        self.server.bodies.append(body)
        self.server.keys.append(self.headers["Authorization"])
        content = body["messages"][-1]["content"]
        asked = content if isinstance(content, str) else content[-1].get("text", "")
        if asked == "busy" and self.server.busy:
            self._json({"error": {"message": "9 requests wait for 8 places."}}, status=503, again="5")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            self._stream(asked)
        except OSError:
            self.server.left.set()

    def _stream(self, asked: str) -> None:
        self._piece("")
        at = 0
        while asked == "long" and not self.server.release.wait(0.005):
            at += 1
            self._piece(f"word{at} ")
        if asked == "cut":
            self._piece("Half of an ans")
            return
        for at in range(0, len(self.server.answer), 7):
            self._piece(self.server.answer[at : at + 7])
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self._event({"choices": [], "usage": USAGE})
        self.wfile.write(b"data: [DONE]\n\n")

    def _piece(self, text: str) -> None:
        self._event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})

    def _event(self, chunk: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()

    def _welcome(self) -> bool:
        if self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}":
            self._json({"error": {"message": "No such key."}}, status=401)
            return False
        return True

    def _json(self, value: Any, status: int = 200, again: str = "", guarded: bool = False) -> None:
        if not guarded or self._welcome():
            self._send(status, "application/json", json.dumps(value).encode(), again)

    def _send(self, status: int, kind: str, data: bytes, again: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Security-Policy", POLICY)
        if again:
            self.send_header("Retry-After", again)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def standing_in() -> Iterator[StandIn]:
    """A stand-in on a free port of this machine."""
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.release.set()
            server.shutdown()
            thread.join()
