"""Pictures from addresses: what is never connected to, and what is cut."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gemwright.errors import UserError
from gemwright.server.fetch import Fetcher, is_public, resolve

LOCAL = "127.0.0.1"
FILE = b"the bytes of a picture"
PRIVATE = [
    *("0.0.0.0", "10.0.0.1", "127.0.0.1", "100.64.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1", "192.0.2.1"),
    *("198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:10.0.0.1"),
    *("::ffff:127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8", "fc00::1", "fd00:ec2::254", "fe80::1"),
    *("fe80::1%eth0", "ff02::1", "2001:db8::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2002:a00:1::1"),
]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(FILE), FILE)


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_the_open_internet_is_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_what_is_the_open_internet_is_allowed(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@dataclass
class Peer:
    """A server that answers each connection with the next of `answers`, and remembers what it was asked."""

    answers: list[bytes]
    asked: list[bytes] = field(default_factory=list)
    stay: bool = False  # keep the connection open after the answer
    port: int = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answers.pop(0))
            await writer.drain()
            if self.stay:
                await reader.read()
        except OSError:
            pass  # it was cut off
        finally:
            writer.transport.abort() if self.stay else writer.close()


def fetched(peer: Peer, *paths: str, host: str = "pictures.example", **changes: Any) -> Any:
    """What comes of fetching from the peer, which alone may be reached here."""
    places = changes.pop("places", {host: [LOCAL]})

    async def whole() -> Any:
        serving = await asyncio.start_server(peer.talk, LOCAL, 0)
        peer.port = serving.sockets[0].getsockname()[1]
        peer.answers = [answer.replace(b"PORT", str(peer.port).encode()) for answer in peer.answers]
        settings: dict[str, Any] = {"size": 1000, "seconds": 20.0, "public": lambda one: str(one) == LOCAL}
        settings["resolve"] = lambda name, _: places[name]
        fetcher = Fetcher(**(settings | changes))
        async with serving:
            urls = [f"http://{host}:{peer.port}{path}" for path in paths]
            return await (fetcher.get(urls[0]) if len(urls) == 1 else fetcher.all(urls, 2000))

    return asyncio.run(asyncio.wait_for(whole(), 60))


def test_a_file_is_fetched_by_its_name_from_the_address_that_was_checked() -> None:
    peer = Peer([OK])
    assert fetched(peer, "/a b.png?x=1&y=é") == FILE
    head = peer.asked[0].lower()
    assert head.startswith(b"get /a%20b.png?x=1&y=%c3%a9 http/1.1\r\n")
    assert b"host: pictures.example:%d\r\n" % peer.port in head


def test_chunks_and_answers_without_a_length_are_read() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nthe \r\n3\r\nend\r\n0\r\n\r\n"
    assert fetched(Peer([chunked]), "/") == b"the end"
    assert fetched(Peer([b"HTTP/1.1 200 OK\r\n\r\n" + FILE]), "/") == FILE


def test_the_checked_address_is_connected_to_even_if_the_name_changes_its_mind() -> None:
    """The name is resolved once: a second look, which would give another address, never comes."""
    looks = iter([[LOCAL]])
    assert fetched(Peer([OK]), "/", resolve=lambda *_: next(looks)) == FILE


def fetched_by(resolver: Callable[[str, int], Any], url: str) -> Awaitable[bytes]:
    return Fetcher(size=1000, seconds=20.0, resolve=resolver).get(url)


@pytest.mark.parametrize("found", [[LOCAL], ["8.8.8.8", "10.0.0.1"], ["::1"], []])
def test_a_name_with_a_private_address_is_refused_unconnected(
    found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("it must not connect")

    monkeypatch.setattr(asyncio, "open_connection", never)
    with pytest.raises(UserError, match="open Internet"):
        asyncio.run(fetched_by(lambda *_: found, "http://inside.example/"))


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_other_spellings_of_the_loopback_are_refused(host: str) -> None:
    with pytest.raises(UserError, match=r"open Internet|no address"):
        asyncio.run(fetched_by(resolve, f"http://{host}/"))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/",
        "file:///etc/passwd",
        "http://",
        "http://[",
        "http://me:pass@a.example/",
        "//a",
        "http://a:99999/",
    ],
)
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(UserError):
        asyncio.run(fetched_by(lambda *_: ["8.8.8.8"], url))


def redirect(where: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode()


def test_a_redirect_is_followed() -> None:
    peer = Peer([redirect("/other"), OK])
    assert fetched(peer, "/first") == FILE and peer.asked[1].startswith(b"GET /other ")


def test_a_redirect_to_a_private_address_is_refused() -> None:
    peer = Peer([redirect("http://inside.example:PORT/"), OK])
    places = {"pictures.example": [LOCAL], "inside.example": ["127.0.0.2"]}
    with pytest.raises(UserError, match=r"inside\.example is no address of the open Internet"):
        fetched(peer, "/", places=places)
    assert len(peer.asked) == 1


def test_endless_redirects_are_refused() -> None:
    peer = Peer([redirect("/again")] * 10)
    with pytest.raises(UserError, match="more than 3 times"):
        fetched(peer, "/")
    assert len(peer.asked) == 4


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", "more than 1000 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000, "more than 1000 bytes"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "status 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", "does not speak|broke off"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "does not speak"),
        (b"", "broke off|does not speak"),
        (redirect("http://["), "no address"),
    ],
)
def test_what_is_too_large_or_no_answer_is_refused(answer: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        fetched(Peer([answer]), "/")


def test_a_server_that_does_not_end_is_cut() -> None:
    with pytest.raises(UserError, match=r"longer than 0\.2 s"):
        fetched(Peer([b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"], stay=True), "/", seconds=0.2)


def test_nobody_listening_is_said() -> None:
    with socket.socket() as silent:
        silent.bind((LOCAL, 0))
        fetcher = Fetcher(size=1000, seconds=20.0, public=lambda _: True, resolve=lambda *_: [LOCAL])
        with pytest.raises(UserError, match="does not answer"):
            asyncio.run(fetcher.get(f"http://pictures.example:{silent.getsockname()[1]}/"))


def test_several_files_come_together_and_each_address_once() -> None:
    peer = Peer([OK, OK])
    found = fetched(peer, "/a", "/b", "/a")
    assert len(peer.asked) == 2 and set(found.values()) == {FILE} and len(found) == 2


def test_files_that_are_too_much_together_are_refused() -> None:
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + b"x" * 900
    with pytest.raises(UserError, match="2000 bytes in all"):
        fetched(Peer([large] * 3), "/a", "/b", "/c")


def test_one_refusal_among_several_is_told_as_itself() -> None:
    with pytest.raises(UserError, match="status 404"):
        fetched(Peer([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"] * 3), "/a", "/b", "/c")
