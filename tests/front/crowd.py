"""Many clients at once: each asks, reads the stream, mostly stays, often leaves midway, and asks again.

For tests and measurements alike: it speaks to any server of OpenAI's completions route by its address, in asyncio.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

_PATIENCE = 120.0  # seconds that a client waits for the next piece


@dataclass(kw_only=True)
class Asked:
    """One request as its client saw it. Times in seconds; `first`: from the request to its first piece of text, None
    where none came. `left`: the client went away. `status` 0: no answer came before it did."""

    length: int
    began: float
    first: float | None = None
    pieces: int = 0
    status: int = 0
    left: bool = False
    finished: bool = False
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a crowd does.

    Attributes:
        clients: that ask at once, for `seconds`.
        lengths: tokens of prompts; each request takes one of these.
        tokens: of an answer, at most.
        leaving: the share of requests whose client goes away midway, some of them before anything came.
        shared: the share of prompts that begin like others.
        vocab: ids from 300 up to it stand in prompts.
        seed: of everything that is drawn.
    """

    clients: int
    seconds: float
    lengths: Sequence[int]
    tokens: int
    leaving: float = 0.5
    shared: float = 0.25
    vocab: int = 1000
    seed: int = 0


async def crowd(url: str, model: str, load: Load) -> list[Asked]:
    """The requests of all clients, in the order they began."""
    end = time.monotonic() + load.seconds
    limits = httpx.Limits(max_connections=load.clients)
    async with httpx.AsyncClient(base_url=url, timeout=_PATIENCE, limits=limits) as client:
        found = await asyncio.gather(*(_one(client, model, load, number, end) for number in range(load.clients)))
    return sorted((one for mine in found for one in mine), key=lambda one: one.began)


async def _one(client: httpx.AsyncClient, model: str, load: Load, number: int, end: float) -> list[Asked]:
    """One client's requests, until it is time to end."""
    chance = random.Random(f"{load.seed} {number}")
    done = []
    while time.monotonic() < end:
        length = chance.choice(load.lengths)
        tokens = chance.randint(2, load.tokens)
        body = {"model": model, "prompt": _prompt(load, length, chance), "stream": True, "max_tokens": tokens}
        asked = Asked(length=length, began=time.monotonic())
        done.append(asked)
        leaves = chance.random() < load.leaving
        stays = chance.randint(1, tokens // 2) if leaves else None  # pieces that it waits for before it leaves
        waits = chance.random() * 2.0 if leaves and chance.random() < 0.25 else None  # or seconds
        try:
            async with asyncio.timeout(waits):
                await _read(client, body | {"seed": chance.getrandbits(30)}, asked, stays)
        except TimeoutError:
            asked.left = True
        if asked.status == 503:
            await asyncio.sleep(1.0)
        await asyncio.sleep(chance.random() * 0.05)
    return done


def _prompt(load: Load, length: int, chance: random.Random) -> list[int]:
    """Ids that begin with `<bos>`; a shared prompt's are always the same."""
    source = random.Random(length) if chance.random() < load.shared else chance
    return [2, *(source.randrange(300, load.vocab) for _ in range(length - 1))]


async def _read(client: httpx.AsyncClient, body: dict[str, object], asked: Asked, stays: int | None) -> None:
    """Reads a stream to its end, or until so many pieces have come."""
    try:
        async with client.stream("POST", "/v1/completions", json=body) as answer:
            asked.status = answer.status_code
            if answer.status_code != 200:
                asked.error = (await answer.aread()).decode()
                return
            async for line in answer.aiter_lines():
                if not line.startswith("data: "):
                    continue
                if asked.first is None:
                    asked.first = time.monotonic() - asked.began
                if line == "data: [DONE]":
                    asked.finished = True
                    return
                tree = json.loads(line.removeprefix("data: "))
                if "error" in tree:
                    asked.error = line
                    return
                asked.pieces += 1
                if stays is not None and asked.pieces >= stays:
                    asked.left = True
                    return
            asked.error = "the stream ended without a mark"
    except httpx.HTTPError as error:
        asked.error = f"{type(error).__name__}: {error}"
