"""A live server on a free port of this machine, for the tests that speak to it over sockets."""

from __future__ import annotations

import base64
import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy
import openai
from PIL import Image

from gemwright.lm import LM
from gemwright.server.http import app
from gemwright.server.listen import server
from gemwright.server.service import Service
from gemwright.server.settings import Settings
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import stop_ids
from gemwright.weights.hub import embedded

PATIENCE = 60.0  # seconds; the machine may be busy
CHAT = "/v1/chat/completions"
QUESTION: list[Any] = [{"role": "user", "content": "What is 347 + 276?"}]
# A bias against <eos> and <end_of_turn>: an answer goes on until its limit.
ENDLESS = {str(id): -100.0 for id in stop_ids(Tokenizer.load(embedded()), None)}


@dataclass(frozen=True)
class Live:
    """A server that runs."""

    port: int
    service: Service
    listener: Any  # its socket

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, key: str = "none", **settings: Any) -> openai.OpenAI:
        """The official client, which here gives up at the first refusal."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, **({"max_retries": 0} | settings))

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def idle(self) -> bool:
        """Whether nobody waits or runs, and the cache holds idle conversations only."""
        engine = self.service.lm.engine
        return self.service.worker.load == 0 and not engine.busy


@contextlib.contextmanager
def running(lm: LM, *, room: dict[str, Any] | None = None, **settings: Any) -> Iterator[Live]:
    """Serves a model, with an engine of its own that has this `room` (as `load` takes it), until the block ends."""
    beside = {"template": lm.template, "eyes": lm._eyes, "adapters": lm.adapters}
    own = LM(lm.model, lm.tokenizer, context=lm.engine.context, defaults=lm.engine.defaults, **beside, **(room or {}))
    chosen = Settings(**({"drain_seconds": 1.0} | settings))
    built = app(own, chosen)
    serving = server(built, chosen, host="127.0.0.1", port=0)
    thread = threading.Thread(target=serving.run)
    thread.start()
    try:
        wait(lambda: serving.started or not thread.is_alive())
        listener = serving.servers[0].sockets[0]
        yield Live(listener.getsockname()[1], built.state.service, listener)
    finally:
        serving.should_exit = True
        thread.join(PATIENCE)


def wait(until: Callable[[], object]) -> None:
    """Returns when `until()` is true."""
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


@contextlib.contextmanager
def others(client: openai.OpenAI, most: float = 20.0) -> Iterator[list[float]]:
    """Somebody else asks small questions, one after the other, as long as the block runs, and once more after it: each
    is answered within `most` seconds, and the block gets a list of these."""
    seconds: list[float] = []
    failures: list[Exception] = []
    over = threading.Event()

    def work() -> None:
        while not failures:
            last, began = over.is_set(), time.monotonic()
            try:
                assert ask(client, max_tokens=2).choices
            except Exception as error:
                failures.append(error)
            seconds.append(time.monotonic() - began)
            if last:
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield seconds
    finally:
        over.set()
        thread.join(PATIENCE)
    assert not failures, failures[0]
    assert not thread.is_alive() and max(seconds) < most, f"somebody else waited for {max(seconds):.1f} s"


def photo(seed: int, size: tuple[int, int] = (60, 60)) -> bytes:
    """A picture of noise, as a PNG."""
    noise = numpy.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def url(data: bytes) -> str:
    """A PNG as a data: URL."""
    return "data:image/png;base64," + base64.b64encode(data).decode()


def shown(address: str) -> list[Any]:
    """Messages that show the picture at an address."""
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": address}}]}]


def ask(client: openai.OpenAI, **changes: Any) -> Any:
    """The client's answer to the question: twelve tokens, greedily drawn, whatever ends an answer."""
    settings = {"model": "pocket", "messages": QUESTION, "temperature": 0, "max_tokens": 12, "logit_bias": ENDLESS}
    return client.chat.completions.create(**(settings | changes))
