"""Requests that are meant to hurt: each is answered or cut within its limit, and meanwhile others are served."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy
import openai
import pytest
from PIL import Image

from gemwright.image.decode import decode
from gemwright.lm import LM

sys.path.append(str(Path(__file__).resolve().parent))
from serving import CHAT, ENDLESS, PATIENCE, QUESTION, Live, ask, others, photo, running, shown, url, wait

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
MEGABYTE = b"x" * 2**20


@pytest.fixture(scope="module")
def wide(seeing: LM) -> Iterator[Live]:
    """A server with the limits that it has by default, of a model that sees."""
    with running(seeing, name="pocket") as found:
        yield found


def post(live: Live, **body: Any) -> httpx.Response:
    return httpx.post(live.url + CHAT, json={"messages": QUESTION, "max_tokens": 4} | body, timeout=PATIENCE)


# ----------------------------------------------------------------------------------------------------------------------
# Connections


def pushed(connection: socket.socket, head: bytes, block: bytes, blocks: int) -> tuple[int, bytes]:
    """Bytes that a server takes of `blocks` blocks after a head before it closes, and what it answered."""
    sent = 0
    try:
        connection.sendall(head)
        for _ in range(blocks):
            connection.sendall(block)
            sent += len(block)
    except OSError:
        pass
    return sent, rest(connection)


def rest(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            found += part
    return found


def test_wrong_keys_are_refused_while_the_right_one_is_served(lm: LM) -> None:
    with running(lm, keys=("right",)) as live, others(live.client("right")):
        with httpx.Client(base_url=live.url, headers={"Authorization": "Bearer wrong"}) as thief:
            assert {thief.post(CHAT, json={"messages": QUESTION}).status_code for _ in range(100)} == {401}
        long = httpx.get(live.url + "/v1/models", headers={"Authorization": "Bearer " + "x" * 20_000})
        assert long.status_code == 401


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_a_gigabyte_is_cut_early(live: Live, client: openai.OpenAI, declared: bool) -> None:
    block = MEGABYTE if declared else b"100000\r\n" + MEGABYTE + b"\r\n"
    length = b"Content-Length: 1073741824\r\n\r\n" if declared else b"Transfer-Encoding: chunked\r\n\r\n"
    with others(client), live.connect() as connection:
        sent, answer = pushed(connection, HEAD + length, block, 1024)
    assert sent < 64 * 2**20 and (not answer or b" 413 " in answer.splitlines()[0])


@pytest.mark.parametrize("size", [1000, 0])
def test_a_flood_of_headers_is_cut(live: Live, client: openai.OpenAI, size: int) -> None:
    block = b"".join(b"X-%d: %s\r\n" % (index, b"y" * size) for index in range(1000))
    with others(client), live.connect() as connection:
        sent, answer = pushed(connection, b"GET /health HTTP/1.1\r\nHost: here\r\n", block, 100)
    assert sent < 64 * 2**20 and (not answer or b" 400 " in answer.splitlines()[0])


def test_two_hundred_connections_that_say_nothing_are_cut(lm: LM) -> None:
    with running(lm, header_seconds=0.5) as live, others(live.client()), contextlib.ExitStack() as stack:
        silent = [stack.enter_context(live.connect()) for _ in range(200)]
        for connection in silent:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHo")
        assert not any(rest(connection) for connection in silent)


def test_a_slow_reader_is_cut(lm: LM) -> None:
    """The reader takes nothing. The kernel's buffers, which would take it in its place, are made small."""
    body = {"messages": QUESTION, "max_tokens": 900, "logit_bias": ENDLESS, "stream": True, "n": 4}
    data = json.dumps(body | {"logprobs": True, "top_logprobs": 20}).encode()
    with running(lm, stall_seconds=0.3) as live, socket.socket() as connection:
        live.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", live.port))
        with others(live.client()):
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data)
            cut = 'gemwright_cancelled_total{reason="client_left"} 1.0'
            wait(lambda: cut in httpx.get(live.url + "/metrics").text)
        wait(live.idle)


@pytest.mark.parametrize("kind", ["websocket", "h2c"])
def test_an_upgrade_is_answered_as_a_plain_request(live: Live, client: openai.OpenAI, kind: str) -> None:
    upgrade = f"Connection: Upgrade, close\r\nUpgrade: {kind}\r\nSec-WebSocket-Version: 13\r\n".encode()
    with others(client), live.connect() as connection:
        connection.sendall(b"GET /v1/chat/completions HTTP/1.1\r\nHost: here\r\n" + upgrade + b"\r\n\0\xff frames")
        assert b" 405 " in rest(connection).splitlines()[0]


@pytest.mark.parametrize(
    "chunk", [b"zz\r\n{}\r\n", b"-1\r\n{}\r\n", b"ffffffffffffffffffffff\r\n{}", b"2\r\n{}{}{}{}\r\n"]
)
def test_a_broken_chunked_body_ends_its_connection(live: Live, client: openai.OpenAI, chunk: bytes) -> None:
    with others(client), live.connect() as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)
        answer = rest(connection)
        assert not answer or b" 400 " in answer.splitlines()[0]


def test_a_broken_body_after_its_refusal_ends_its_connection_quietly(lm: LM, caplog: pytest.LogCaptureFixture) -> None:
    with running(lm, keys=("right",)) as live, others(live.client("right")), live.connect() as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        assert b" 401 " in connection.recv(65536).splitlines()[0]
        connection.sendall(b"zz\r\n{}\r\n")
        rest(connection)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_client_that_leaves_within_its_body_is_no_error_of_the_server(
    lm: LM, caplog: pytest.LogCaptureFixture
) -> None:
    with running(lm) as live:
        with live.connect() as connection:
            connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        counted = 'gemwright_requests_total{route="/v1/chat/completions",status='
        wait(lambda: counted in httpx.get(live.url + "/metrics").text)
        assert f'{counted}"499"}} 1.0' in httpx.get(live.url + "/metrics").text
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_request_of_two_lengths_is_refused(live: Live, client: openai.OpenAI) -> None:
    for lengths in (
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 1e3\r\n",
    ):
        with others(client), live.connect() as connection:
            connection.sendall(HEAD + lengths + b"\r\n{}{}")
            assert b" 400 " in rest(connection).splitlines()[0]


@pytest.mark.parametrize("share", ["head", "body", "whole"])
def test_a_connection_that_is_half_closed_frees_its_place(live: Live, client: openai.OpenAI, share: str) -> None:
    data = json.dumps({"messages": QUESTION, "max_tokens": 900, "logit_bias": ENDLESS}).encode()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data
    ends = {"head": len(HEAD) // 2, "body": len(request) - 5, "whole": len(request)}
    with others(client), live.connect() as connection:
        connection.sendall(request[: ends[share]])
        connection.shutdown(socket.SHUT_WR)
        rest(connection)
    wait(live.idle)


# ----------------------------------------------------------------------------------------------------------------------
# Bodies


def test_a_hundred_thousand_stop_strings_are_refused(wide: Live) -> None:
    with others(wide.client()):
        found = post(wide, stop=[f"stop {index}" for index in range(100_000)])
    assert found.status_code == 400 and found.json()["error"]["param"] == "stop"


def deep(levels: int) -> dict[str, Any]:
    """A schema of lists of lists of … of numbers."""
    schema: dict[str, Any] = {"type": "number"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def schema_of(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}}


CHAIN = {
    "type": "object",
    "properties": {"value": {"enum": [1, 2]}, "next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
    "required": ["value", "next"],
    "additionalProperties": False,
}


def test_a_schema_that_recurses_and_can_end_is_followed(client: openai.OpenAI) -> None:
    found = ask(client, max_tokens=300, temperature=2.0, seed=3, n=8, **schema_of(CHAIN))
    ended = [json.loads(one.message.content) for one in found.choices if one.finish_reason == "stop"]
    assert ended
    for chain in ended:
        while chain is not None:
            assert chain.keys() == {"value", "next"} and chain["value"] in (1, 2)
            chain = chain["next"]


REFERENCES = {f"n{index}": {"$ref": f"#/$defs/n{(index + 1) % 1000}"} for index in range(1000)}
FORKS = {
    f"n{index}": {"allOf": [{"$ref": f"#/$defs/n{index + 1}"}, {"$ref": f"#/$defs/n{index + 1}"}]}
    for index in range(60)
}
BEYOND = {"type": "integer", "minimum": -(10**30), "maximum": -(10**29)}  # the parser itself would end the process
LOOKING = {"type": "string", "pattern": "^" + "(a?){500}a{500}" + "$"}


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"$ref": "#"}, id="itself"),
        pytest.param({"$ref": "#/$defs/n0", "$defs": REFERENCES}, id="a ring of references"),
        pytest.param({"$ref": "#/$defs/n0", "$defs": FORKS | {"n60": {"$ref": "#"}}}, id="forks that double"),
        pytest.param({"$ref": "http://169.254.169.254/schema"}, id="an address"),
        pytest.param({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, id="no end"),
        pytest.param(deep(80), id="80 levels"),
        pytest.param({"type": "object", "properties": {"a": BEYOND}}, id="beyond 64 bits"),
        pytest.param(
            {"type": "object", "properties": {"a": {"type": "integer", "multipleOf": 2**31}}}, id="remainders"
        ),
        pytest.param({"type": "object", "properties": {"a": LOOKING}, "required": ["a"]}, id="an expression"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_refused(client: openai.OpenAI, schema: Any) -> None:
    with others(client), pytest.raises(openai.BadRequestError):
        ask(client, **schema_of(schema))
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    with pytest.raises(openai.BadRequestError):
        ask(client, tools=[tool], tool_choice="required")


def test_a_schema_ten_thousand_levels_deep_is_refused(live: Live, client: openai.OpenAI) -> None:
    inner = '{"type":"array","items":' * 10_000 + "{}" + "}" * 10_000
    whole = json.dumps({"messages": QUESTION} | schema_of(None)).replace('"schema": null', '"schema":' + inner)
    with others(client):
        found = httpx.post(live.url + CHAT, content=whole[:190_000] if len(whole) > 200_000 else whole)
    assert found.status_code in (400, 413)


@pytest.mark.parametrize(
    "expression",
    [
        "(x+x+)+y",
        "(.*a.{200}){3}",
        "(.{1,1000}){1,1000}",
        "(a|b)*a(a|b){18}",
        "|".join("abcdefgh" * n for n in range(1, 100)),
    ],
)
def test_an_expression_that_explodes_elsewhere_does_no_harm(client: openai.OpenAI, expression: str) -> None:
    inside = {"type": "object", "properties": {"a": {"type": "string", "pattern": f"^({expression})$"}}}
    began = time.monotonic()
    with others(client), contextlib.suppress(openai.BadRequestError):
        ask(client, max_tokens=60, temperature=1.0, seed=1, **schema_of(inside | {"required": ["a"]}))
    assert time.monotonic() - began < PATIENCE / 2


# ----------------------------------------------------------------------------------------------------------------------
# Pictures


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size: tuple[int, int], inside: int, text: int = 0) -> bytes:
    """A grey PNG of one bit a pixel whose data are `inside` zeros, and which holds a text of so many characters."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 1, 0, 0, 0, 0))
    said = chunk(b"zTXt", b"k\0\0" + zlib.compress(b" " * text)) if text else b""
    return b"\x89PNG\r\n\x1a\n" + head + said + chunk(b"IDAT", zlib.compress(bytes(inside))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("file", "statuses"),
    [
        pytest.param(png((16_000, 16_000), 32_016_000), (400,), id="256 million pixels in 31 kB"),
        pytest.param(png((64, 64), 100_000_000), (200, 400), id="a hundred million bytes behind a small picture"),
        pytest.param(png((64, 64), 64 * 9, text=100_000_000), (200, 400), id="a hundred million characters of text"),
    ],
)
def test_a_picture_that_unpacks_to_too_much_is_refused_or_cut(wide: Live, file: bytes, statuses: Any) -> None:
    began = time.monotonic()
    with others(wide.client()):
        found = post(wide, messages=shown(url(file)))
    assert len(file) < 200_000 and found.status_code in statuses, found.text
    assert time.monotonic() - began < PATIENCE / 4


def test_pictures_of_ten_million_pixels_are_seen_and_hold_nobody_up(wide: Live) -> None:
    across = numpy.linspace(0, 255, 3648).astype(numpy.uint8)
    files = []
    for seed in range(8):
        file = io.BytesIO()
        Image.fromarray(numpy.broadcast_to(across, (2741, 3648)) // (seed + 1)).save(file, "PNG", compress_level=1)
        files.append(url(file.getvalue()))
    with others(wide.client()), ThreadPoolExecutor(len(files)) as crowd:
        found = list(crowd.map(lambda file: post(wide, messages=shown(file)), files))
    assert {one.status_code for one in found} == {200}


def test_texts_do_not_wait_for_pictures_that_take_long(wide: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them at once than there are threads for other work; none is decoded before the text is answered."""
    gate, small = threading.Event(), url(photo(1))

    def held(*given: Any) -> Any:
        assert gate.wait(PATIENCE)
        return decode(*given)

    monkeypatch.setattr("gemwright.server.prompts.decode", held)
    with ThreadPoolExecutor(40) as crowd:
        found = [crowd.submit(post, wide, messages=shown(small)) for _ in range(40)]
        try:
            wait(lambda: wide.service._looks == 40)
            assert ask(wide.client(timeout=PATIENCE / 2), max_tokens=2).choices
        finally:
            gate.set()
    assert {one.result().status_code for one in found} == {200}


def test_a_picture_of_ten_million_pixels_is_refused_where_fewer_are_allowed(seeing: LM) -> None:
    with running(seeing, name="pocket", image_pixels=1_000_000) as live, others(live.client()):
        found = post(live, messages=shown(url(png((3648, 2741), 3648 // 8 * 2741 + 2741))))
    assert found.status_code == 400 and "1 million" in found.json()["error"]["message"]
