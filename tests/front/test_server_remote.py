"""Pictures by their addresses: off by default, guarded when on."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from gemwright.lm import LM
from gemwright.server.fetch import Fetcher

sys.path.append(str(Path(__file__).resolve().parent))
from serving import CHAT, PATIENCE, Live, others, photo, running, shown, url

LOCAL = "127.0.0.1"


class Gallery(ThreadingHTTPServer):
    """Shows one picture at every address."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((LOCAL, 0), _Handler)
        self.file = photo(5)
        self.asked: list[str] = []
        self.address = f"http://gallery.example:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Gallery  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.file)


@pytest.fixture(scope="module")
def gallery() -> Iterator[Gallery]:
    with Gallery() as found:
        threading.Thread(target=found.serve_forever).start()
        yield found
        found.shutdown()


@pytest.fixture(scope="module")
def fetching(seeing: LM) -> Iterator[Live]:
    """A server that fetches, and takes this machine for a part of the open Internet."""
    with running(seeing, remote_images=True) as found:
        found.service.fetcher = Fetcher(
            size=2**20, seconds=5.0, public=lambda one: str(one) == LOCAL, resolve=lambda *_: [LOCAL]
        )
        yield found


def seen(live: Live, address: str, route: str = CHAT) -> httpx.Response:
    body: dict[str, Any] = {"temperature": 0}
    if route == CHAT:
        body |= {"messages": shown(address), "max_tokens": 6}
    else:
        part = {"type": "input_image", "image_url": address}
        body |= {"input": [{"role": "user", "content": [part]}], "max_output_tokens": 6}
    return httpx.post(live.url + route, json=body, timeout=PATIENCE)


def test_a_fetched_picture_is_seen_like_one_in_the_request(fetching: Live, gallery: Gallery) -> None:
    found, inside = (seen(fetching, address).json() for address in (f"{gallery.address}/a.png", url(gallery.file)))
    assert found["choices"][0]["message"] == inside["choices"][0]["message"]
    answer = seen(fetching, f"{gallery.address}/b.png", "/v1/responses").json()
    assert answer["output"][0]["content"][0]["text"] == found["choices"][0]["message"]["content"]
    assert gallery.asked == ["/a.png", "/b.png"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1"]
)
def test_this_machine_and_its_neighbours_are_not_asked(seeing: LM, gallery: Gallery, host: str) -> None:
    before = list(gallery.asked)
    with running(seeing, remote_images=True) as live:
        found = seen(live, f"http://{host}:{gallery.server_address[1]}/")
    assert found.status_code == 400 and found.json()["error"]["code"] == "invalid_image_url"
    assert "open Internet" in found.json()["error"]["message"] or "no address" in found.json()["error"]["message"]
    assert gallery.asked == before


def test_nothing_is_fetched_unasked(seeing: LM, gallery: Gallery) -> None:
    before = list(gallery.asked)
    with running(seeing) as live:
        live.service.fetcher = Fetcher(size=2**20, seconds=5.0, public=lambda _: True, resolve=lambda *_: [LOCAL])
        found = seen(live, f"{gallery.address}/")
    assert found.status_code == 400 and found.json()["error"]["code"] == "invalid_image_url"
    assert gallery.asked == before


def test_more_pictures_than_a_request_may_show_are_not_fetched(fetching: Live, gallery: Gallery) -> None:
    before = list(gallery.asked)
    parts = [part for index in range(17) for part in shown(f"{gallery.address}/{index}")[0]["content"]]
    found = httpx.post(fetching.url + CHAT, json={"messages": [{"role": "user", "content": parts}]})
    assert found.status_code == 400 and "17 pictures" in found.json()["error"]["message"] and gallery.asked == before


def test_a_server_that_never_answers_holds_nobody_else_up(seeing: LM) -> None:
    with socket.socket() as silent, running(seeing, name="pocket", remote_images=True) as live:
        silent.bind((LOCAL, 0))
        silent.listen()
        live.service.fetcher = Fetcher(size=2**20, seconds=1.0, public=lambda _: True, resolve=lambda *_: [LOCAL])
        with others(live.client()):
            found = seen(live, f"http://silent.example:{silent.getsockname()[1]}/")
    assert found.status_code == 400 and "longer than 1 s" in found.json()["error"]["message"]
