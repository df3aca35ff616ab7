"""Beginnings of prompts that are kept: whatever is taken up again, an answer is that of a prompt read anew."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import small
import torch
from equivalence import equivalence
from test_engine_pictures import MARK, SIDE, SOFT, TIE, TOWER

from gemwright.arch.presets import preset
from gemwright.engine.engine import Engine
from gemwright.engine.eyes import Eyes
from gemwright.engine.progress import Session
from gemwright.engine.request import Completion, PromptImage, Request, Sampling
from gemwright.image.picture import Picture, picture
from gemwright.nn.decoder import Decoder
from gemwright.ops.native import calls
from gemwright.quant.scheme import SCHEMES
from gemwright.quant.swap import swap

SEEDS = 2  # schedules for each model, of this many prompts; in a soak a hundred times as many
PROMPTS = 12
MOST = 150  # tokens of a prompt
CHUNK = 16
_SIZES: dict[str, Any] = {"width": 64, "heads": 4, "head_dim": 16, "hidden": 96, "vocab": small.VOCAB}
SPECS = {
    "global": preset("gemma-2b", depth=2, **_SIZES),
    "capped": preset("gemma-2-2b", depth=4, window=small.WINDOW, kv_heads=2, query_scalar=12.0, **_SIZES),
    "local": preset("gemma-3-1b", depth=7, window=small.WINDOW, kv_heads=2, query_scalar=12.0, **_SIZES),
    "recurrent": preset(
        "recurrentgemma-2b", depth=4, window=small.WINDOW, recurrent_width=128, gate_blocks=4, **_SIZES
    ),
}


@cache
def packed(name: str) -> Decoder:
    """A model of 8-bit blocks: each row's arithmetic is its own, whatever it is computed with."""
    model = small.awake(SPECS[name], torch.bfloat16)
    swap(model, SCHEMES["q8_0"])
    return model


def drawn(draw: random.Random, seed: int, known: list[Request], pictures: bool) -> Request:
    """A prompt that often begins like one before it, and goes on by itself; greedy or sampled."""
    ids: list[int] = []
    images: list[PromptImage] = []
    if known and draw.random() < 0.8:
        old = draw.choice(known)
        cut = draw.choice([len(old.ids), draw.randint(1, len(old.ids))])
        cut = min(cut, MOST)
        cut = min([cut, *(image.first for image in old.images if image.first < cut < image.end)])
        images = [_shown(draw, image) for image in old.images if image.end <= cut]
        ids = list(old.ids[:cut])
    for _ in range(draw.randint(0 if ids else 1, 3)):
        if len(ids) > MOST - 40:
            break
        if pictures and draw.random() < 0.4:
            images.append(PromptImage(first=len(ids), count=SOFT, picture=noise(draw.randint(0, 2))))
            ids += [MARK] * SOFT
        else:
            ids += draw.choices(range(small.VOCAB), k=draw.choice([1, 3, 17, 40]))
    chosen = {"temperature": draw.choice([0, 0, 1.0]), "seed": seed, "logprobs": 2, "max_tokens": draw.randint(1, 20)}
    return Request(ids=tuple(ids), images=tuple(images), sampling=Sampling(**chosen))


@cache
def noise(seed: int) -> Picture:
    pixels = torch.randint(256, (SIDE, SIDE, 3), generator=torch.Generator().manual_seed(seed))
    return picture(pixels.byte().numpy(), "noise")


def _shown(draw: random.Random, image: PromptImage) -> PromptImage:
    """The same picture, or now and then another in its place, which no id tells."""
    return replace(image, picture=noise(draw.randint(0, 2))) if draw.random() < 0.3 else image


class Life:
    """A random schedule through one engine with kept beginnings: arrivals, cancellations, sessions, answers that
    become prompts."""

    def __init__(self, model: Decoder, seed: int, *, reuse: int, pictures: bool) -> None:
        self.draw = random.Random(seed)
        self.engine = Engine(
            model,
            context=200,
            sequences=3,
            chunk=CHUNK,
            defaults=Sampling(),
            eyes=Eyes(lambda: TOWER) if pictures else None,
            reuse=reuse,
        )
        self.pictures = pictures
        self.asked: dict[int, Request] = {}
        self.done: dict[int, Completion] = {}
        self.sessions = [Session() for _ in range(2)]

    def run(self, requests: int) -> None:
        engine, draw = self.engine, self.draw
        while requests or engine.busy:
            if requests and draw.random() < 0.4:
                requests -= 1
                self._submit()
            for event in engine.step():
                if event.completion is not None:
                    self.done[event.request] = event.completion
            if engine._live and draw.random() < 0.03:
                engine.cancel(draw.choice(list(engine._live)))

    def _submit(self) -> None:
        said = [
            Request(ids=(*self.asked[key].ids, *one.ids), images=self.asked[key].images)
            for key, one in self.done.items()
        ]
        known = [*self.asked.values(), *said]
        request = drawn(self.draw, len(self.asked), known, self.pictures)
        idle = [session for session in self.sessions if not session.busy]
        session = self.draw.choice(idle) if idle and self.draw.random() < 0.3 else None
        self.asked[self.engine.submit(request, session)] = request

    def empty(self) -> bool:
        """Is all of the memory free once nobody wants it?"""
        for session in self.sessions:
            self.engine.release(session)
        self.engine.forget()
        return not any(any(store._shares.owners) for store in self.engine.cache.stores)  # type: ignore[attr-defined]


def alone(model: Decoder, request: Request, pictures: bool) -> Completion:
    eyes = Eyes(lambda: TOWER) if pictures else None
    return Engine(model, context=200, sequences=1, chunk=CHUNK, defaults=Sampling(), eyes=eyes).generate(request)


def check_bits(name: str, seed: int) -> int:
    life = Life(packed(name), seed, reuse=4, pictures=False)
    life.run(PROMPTS)
    for key, found in life.done.items():
        expected = alone(packed(name), life.asked[key], False)
        assert (found.ids, found.logprobs) == (expected.ids, expected.logprobs)
    assert life.empty()
    return sum(found.usage.cached for found in life.done.values())


needs_kernels = pytest.mark.skipif(not calls.available(), reason="no native kernels were built here")


@needs_kernels
@pytest.mark.parametrize("name", SPECS)
@equivalence("prompts whose beginnings were kept = prompts read anew, native", "bit")
def test_bits(name: str) -> None:
    """Greedy and sampled ids and log-probabilities, over random schedules with cancellations and sessions."""
    assert sum(check_bits(name, seed) for seed in range(SEEDS)) > 0


@needs_kernels
@pytest.mark.soak
@pytest.mark.parametrize("name", SPECS)
@equivalence("hundreds of schedules with kept beginnings = prompts read anew, native", "bit")
def test_bits_of_many(name: str) -> None:
    for seed in range(SEEDS * 100):
        check_bits(name, seed)


def check_texts(name: str, seed: int) -> int:
    """In float32, where chunks round differently: the ids but for ties of the two best, and only greedy ones."""
    pictures = name != "recurrent"
    life = Life(small.model(name), seed, reuse=4, pictures=pictures)
    life.run(PROMPTS)
    for key, found in life.done.items():
        if life.asked[key].sampling.temperature:
            continue
        expected = alone(small.model(name), life.asked[key], pictures)
        assert found.logprobs and expected.logprobs
        for at, (one, other) in enumerate(zip(found.ids, expected.ids, strict=True)):
            if one != other:  # the two best are one's and the other's: a tie, or a mistake
                best, second = (value for _, value in expected.logprobs[at].top)
                assert best - second < TIE
                break
            assert abs(found.logprobs[at].logprob - expected.logprobs[at].logprob) < 1e-3
    assert life.empty()
    return sum(found.usage.cached for found in life.done.values())


@pytest.mark.parametrize("name", small.NAMES)
@equivalence("prompts with pictures whose beginnings were kept = prompts read anew", "text")
def test_texts(name: str) -> None:
    assert sum(check_texts(name, seed) for seed in range(SEEDS)) > 0


@pytest.mark.soak
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("hundreds of schedules with pictures and kept beginnings = prompts read anew", "text")
def test_texts_of_many(name: str) -> None:
    for seed in range(SEEDS * 100):
        check_texts(name, seed)
