"""Several streamed requests at once to a server on this machine, with hardly any work while they run: what the client
computes, the server has not. One thread notes when bytes come; what they say is read afterwards.

Only the standard library is used here.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gemwright.errors import UserError

_END = b"data: [DONE]\n\n"
_LARGEST = 1 << 16  # bytes of one reading
_LINE = re.compile(rb"^data: (\{.*\})$", re.MULTILINE)
_HEAD = "POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer. Times are those of `time.perf_counter`.

    `first`: when the stream's first part came, of a chat with its first token. `pieces`: when each part of the text
    came, a token or what several tokens had held back. `end`: when the part came that says why the answer ended.
    `text`: all of it. `usage`: as the server counts it.
    """

    first: float
    pieces: tuple[float, ...]
    end: float
    text: str
    usage: dict[str, Any]


def ask(port: int, route: str, bodies: Sequence[dict[str, Any]], patience: float = 3600.0) -> tuple[float, list[Reply]]:
    """Sends all bodies, and waits for all answers: when the sending began, and the answers in the bodies' order.

    The bodies are asked to stream, with usage. Raises `UserError` for a refusal, for a connection that ends before its
    answer does, and where nothing comes for `patience` seconds.
    """
    more = {"stream": True, "stream_options": {"include_usage": True}}
    sent = [_request(route, body | more) for body in bodies]
    heard: list[list[tuple[float, bytes]]] = [[] for _ in bodies]
    lines = [socket.create_connection(("127.0.0.1", port), timeout=patience) for _ in bodies]
    try:
        began = time.perf_counter()
        for line, data in zip(lines, sent, strict=True):
            line.sendall(data)
        _listen(lines, heard, patience)
    finally:
        for line in lines:
            line.close()
    return began, [read(parts) for parts in heard]


def _request(route: str, body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    return f"{_HEAD.format(route=route)}Content-Length: {len(data)}\r\n\r\n".encode() + data


def _listen(lines: Sequence[socket.socket], heard: list[list[tuple[float, bytes]]], patience: float) -> None:
    """Notes what comes until every connection has ended."""
    with selectors.DefaultSelector() as selector:
        for index, line in enumerate(lines):
            selector.register(line, selectors.EVENT_READ, index)
        left = len(lines)
        while left:
            ready = selector.select(patience)
            if not ready:
                raise UserError(f"the server said nothing for {patience:g} s", hint="ask for less")
            for key, _ in ready:
                data = lines[key.data].recv(_LARGEST)
                heard[key.data].append((time.perf_counter(), data))
                if not data:
                    selector.unregister(key.fileobj)
                    left -= 1


def read(parts: Sequence[tuple[float, bytes]]) -> Reply:
    """What came on one connection, each part with its time. Raises `UserError` for all but a whole answer."""
    data = b"".join(part for _, part in parts)
    head, _, body = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0] or _END not in body:
        said = (body or head)[-300:].decode("utf-8", "replace").strip()
        raise UserError(f"the server did not answer: {said}", hint="ask it alone to see more")
    pieces: list[float] = []
    texts: list[str] = []
    usage: dict[str, Any] = {}
    end = None
    chunks = _chunks(parts)
    for when, chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            text = choice.get("text") or choice.get("delta", {}).get("content") or ""
            if text:
                pieces.append(when)
                texts.append(text)
            if choice["finish_reason"] is not None:
                end = when
    if end is None:
        raise UserError("the server's answer has no end", hint="ask it alone to see more")
    return Reply(first=chunks[0][0], pieces=tuple(pieces), end=end, text="".join(texts), usage=usage)


def _chunks(parts: Sequence[tuple[float, bytes]]) -> list[tuple[float, dict[str, Any]]]:
    """The stream's objects, each with the time of the part that brought its last byte."""
    data = b"".join(part for _, part in parts)
    ends = []
    size = 0
    for when, part in parts:
        size += len(part)
        ends.append((size, when))
    found = []
    at = 0
    for match in _LINE.finditer(data):
        while ends[at][0] < match.end():
            at += 1
        found.append((ends[at][1], json.loads(match[1])))
    return found
