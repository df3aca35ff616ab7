"""What came over a connection, read afterwards: when each piece of text came, and what is no answer."""

from __future__ import annotations

import json

import pytest

from gemwright.bench.client import read
from gemwright.errors import UserError

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"data: [DONE]\n\n"


def line(text: str, reason: str | None = None) -> bytes:
    return f"data: {json.dumps({'choices': [{'text': text, 'finish_reason': reason}]})}\n\n".encode()


USAGE = b'data: {"choices":[],"usage":{"completion_tokens":2}}\n\n'


def framed(*lines: bytes) -> bytes:
    """HTTP's chunks, one for each line."""
    return b"".join(f"{len(one):x}\r\n".encode() + one + b"\r\n" for one in lines)


def test_each_piece_has_the_time_of_the_part_that_brought_its_end() -> None:
    whole = framed(line("a"))
    parts = [(1.0, HEAD + whole[:10]), (2.0, whole[10:]), (3.0, framed(line("b"), line("", "length"), USAGE, LAST))]
    reply = read([*parts, (4.0, b"")])
    assert reply.pieces == (2.0, 3.0) and reply.end == 3.0
    assert reply.text == "ab" and reply.usage == {"completion_tokens": 2}


def test_a_chats_pieces_are_those_with_text() -> None:
    deltas = [{"role": "assistant", "content": ""}, {"content": "x"}, {}]
    reasons = [None, None, "stop"]
    lines = [
        b"data: " + json.dumps({"choices": [{"delta": delta, "finish_reason": reason}]}).encode() + b"\n\n"
        for delta, reason in zip(deltas, reasons, strict=True)
    ]
    parts = [(float(at), framed(one)) for at, one in enumerate(lines)]
    reply = read([(0.0, HEAD), *parts, (9.0, framed(LAST))])
    assert reply.first == 0.0 and reply.pieces == (1.0,) and reply.end == 2.0 and reply.text == "x"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "did not answer"),
        (b'HTTP/1.1 503 Busy\r\n\r\n{"error":"full"}', "full"),
        (HEAD + framed(line("a")), "did not answer"),  # it broke off
        (HEAD + framed(line("a"), LAST), "no end"),
    ],
)
def test_what_is_no_whole_answer_is_said(data: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read([(1.0, data)])
