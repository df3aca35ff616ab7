"""Random schedules through one engine: whatever happens around a request, its answer is the one that it gets alone.

`wishes` says what a request may ask for and `rooms` what kind of engine it meets; `Life` is what happens between them.
What is new in the engine enters here: a wish, a room, or one more thing that may happen in `Life._happen`.
"""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import schemas
import small
import torch
from test_engine_pictures import SIDE, SOFT, TIE, draw_tower
from test_engine_pictures import VISION as SHALLOW

import gemwright
from gemwright.arch.spec import Model
from gemwright.engine.engine import Engine
from gemwright.engine.eyes import Eyes, SoftCache
from gemwright.engine.grammar import Grammar
from gemwright.engine.progress import Session
from gemwright.engine.request import Completion, PromptImage, Request, Sampling
from gemwright.image.picture import Picture, picture
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.ops.span import Image, span
from gemwright.quant.scheme import SCHEMES
from gemwright.quant.swap import swap
from gemwright.text.tokenizer import Tokenizer

MOST = 150  # tokens of a prompt
CONTEXT = MOST + 100


@cache
def tokenizer() -> Tokenizer:
    """The embedded model's."""
    return Tokenizer.load(Path(gemwright.__file__).parent / "recipes" / "pocket")


def worded(spec: Model) -> Model:
    """With a row for each piece, and a few that stand for none."""
    return replace(spec, vocab=tokenizer().vocab_size + 9)


@cache
def packed(name: str) -> Decoder:
    """A model of 8-bit blocks: each row's arithmetic is its own, whatever it is computed with."""
    model = small.awake(worded(small.NATIVE[name]), torch.bfloat16)
    swap(model, SCHEMES["q8_0"])
    return model


@cache
def plain(name: str) -> Decoder:
    """A float32 model."""
    return small.awake(worded(small.SPECS[name]))


# A block of it costs as much as some tokens of these decoders: its pictures are encoded over several steps.
VISION = replace(SHALLOW, tower=replace(SHALLOW.tower, patch=7, depth=7))
PICTURES = 3


@cache
def tower(width: int) -> Tower:
    """That sees for decoders of that width."""
    return draw_tower(VISION, width)


@cache
def eyes(width: int) -> Eyes:
    """Eyes that have seen all pictures before, each encoded at once."""
    made = Eyes(lambda: tower(width))
    made.encode([noise(seed) for seed in range(PICTURES)])
    return made


@cache
def noise(seed: int) -> Picture:
    """A picture of random pixels."""
    pixels = torch.randint(256, (SIDE, SIDE, 3), generator=torch.Generator().manual_seed(seed))
    return picture(pixels.byte().numpy(), "noise")


def wishes(draw: random.Random, seed: int) -> dict[str, Any]:
    """How a request is sampled."""
    chosen: dict[str, Any] = {"temperature": draw.choice([0, 0, 1.0]), "seed": seed, "max_tokens": draw.randint(1, 20)}
    if draw.random() < 0.2 and find_spec("llguidance"):
        return chosen | {"grammar": Grammar.schema(schemas.schema(draw.randint(0, 9))), "max_tokens": 60}
    if draw.random() < 0.5:
        chosen["logprobs"] = 2
    if draw.random() < 0.2:
        chosen["stop"] = (draw.choice("aeint "),)
    if draw.random() < 0.2:
        chosen["repetition_penalty"] = 1.5
    return chosen


def rooms(draw: random.Random) -> dict[str, Any]:
    """What an engine is given."""
    room = {"sequences": draw.randint(1, 4), "chunk": draw.choice([5, 16, 40]), "reuse": draw.choice([4, 4, 2, 0])}
    return room | {"soft_bytes": draw.choice([0, 1 << 20])}


def asked(draw: random.Random, seed: int, known: list[Request], pictures: bool) -> Request:
    """A prompt that often begins like one before it, and goes on by itself."""
    ids, images = [tokenizer().bos], list[PromptImage]()
    if known and draw.random() < 0.8:
        old = draw.choice(known)
        cut = min(MOST, draw.choice([len(old.ids), draw.randint(1, len(old.ids))]))
        cut = min([cut, *(image.first for image in old.images if image.first < cut < image.end)])
        images = [_shown(draw, image) for image in old.images if image.end <= cut]
        ids = list(old.ids[:cut])
    for _ in range(draw.randint(0 if len(ids) > 1 else 1, 3)):
        if len(ids) > MOST - 40:
            break
        if pictures and draw.random() < 0.4:
            images.append(PromptImage(first=len(ids), count=SOFT, picture=noise(draw.randint(0, PICTURES - 1))))
            ids += [tokenizer().vocab_size + 20] * SOFT  # beyond the table
        else:
            ids += draw.choices(range(300, tokenizer().vocab_size), k=draw.choice([1, 3, 17, 40]))
    sampling, priority = Sampling(**wishes(draw, seed)), draw.choice([0, 0, 0, 1])
    return Request(ids=tuple(ids), images=tuple(images), sampling=sampling, priority=priority)


def _shown(draw: random.Random, image: PromptImage) -> PromptImage:
    """The same picture, or now and then another in its place, which no id tells."""
    return replace(image, picture=noise(draw.randint(0, PICTURES - 1))) if draw.random() < 0.3 else image


def engine(model: Decoder, pictures: bool, *, soft_bytes: int | None = None, **room: Any) -> Engine:
    """An engine for these schedules. `soft_bytes`: what it remembers of pictures it has encoded (None: it need not
    encode any)."""
    width = model.spec.width
    fresh = eyes(width) if soft_bytes is None else Eyes(lambda: tower(width), SoftCache(soft_bytes))
    sees = fresh if pictures else None
    defaults = Sampling(stop_ids=(tokenizer().eos,))
    return Engine(model, tokenizer(), context=CONTEXT, defaults=defaults, eyes=sees, **room)


class Life:
    """One schedule: `asked` and `done` by number, and `cut` short."""

    def __init__(self, model: Decoder, seed: int, *, pictures: bool) -> None:
        self.draw = random.Random(seed)
        self.model, self.pictures = model, pictures
        self.engine = engine(model, pictures, **self.room())
        self.asked: dict[int, Request] = {}
        self.done: dict[int, Completion] = {}
        self.cut: dict[int, Completion] = {}
        self.sessions = [Session() for _ in range(2)]
        self.half = 0

    def room(self) -> dict[str, Any]:
        """What its engine is given."""
        return rooms(self.draw)

    def ask(self, known: list[Request]) -> Request:
        """The next request, which may begin like one that is known."""
        return asked(self.draw, len(self.asked), known, self.pictures)

    def alone(self, request: Request) -> Completion:
        """What an engine answers that has nothing else to do and remembers nothing."""
        return engine(self.model, self.pictures, sequences=1, chunk=16).generate(request)

    def run(self, requests: int) -> None:
        """Until all of so many requests have come, and gone."""
        while requests or self.engine.busy:
            if requests and self.draw.random() < 0.4:
                requests -= 1
                self._submit()
            for event in self.engine.step():
                if event.completion is not None:
                    self.done[event.request] = event.completion
            self.half += len(self.engine._looking) > 0
            self._happen()

    def _happen(self) -> None:
        """What people do meanwhile."""
        draw, engine = self.draw, self.engine
        if draw.random() < 0.03 and (running := self.asked.keys() - self.done.keys() - self.cut.keys()):
            key = draw.choice(sorted(running))
            event = engine.cancel(key)
            assert event is not None and event.completion is not None
            self.cut[key] = event.completion
        idle = [session for session in self.sessions if not session.busy]
        if idle and draw.random() < 0.1:
            session = draw.choice(idle)
            match draw.choice(["fork", "reopen", "release", "forget"]):
                case "fork":
                    self._put(engine.twin(session), session)
                case "reopen":
                    self._put(self._reopened(session), session)
                case "release":
                    engine.release(session)
                case "forget":
                    engine.forget()

    def _reopened(self, session: Session) -> Session:
        """The session of a file that this one was saved in."""
        with tempfile.TemporaryDirectory() as folder:
            images = session.images
            self.engine.save(session, Path(folder) / "session", "")
            return self.engine.reopen(Path(folder) / "session", images)

    def _put(self, new: Session, beside: Session) -> None:
        """A new session; beyond four it takes the place of the one that it was made of."""
        if len(self.sessions) == 4:
            self.engine.release(beside)
            self.sessions.remove(beside)
        self.sessions.append(new)

    def _submit(self) -> None:
        said = [replace(self.asked[key], ids=(*self.asked[key].ids, *one.ids)) for key, one in self.done.items()]
        known = [*self.asked.values(), *said]
        idle = [session for session in self.sessions if not session.busy]
        session = self.draw.choice(idle) if idle and self.draw.random() < 0.4 else None
        if session is not None and session.ids and self.draw.random() < 0.7:
            known = [Request(ids=tuple(session.ids), images=session.images)]
        request = self.ask(known)
        self.asked[self.engine.submit(request, session)] = request

    def empty(self) -> bool:
        """Is all of the memory free once nobody wants it?"""
        for session in self.sessions:
            self.engine.release(session)
        self.engine.forget()
        if len(self.engine._looking):
            return False
        return not any(any(store._shares.owners) for store in self.engine.cache.stores)  # type: ignore[attr-defined]


@dataclass
class Seen:
    """What became of schedules: requests answered and cut short, prompt tokens that were not read again, and steps that
    left a picture half encoded."""

    done: int = 0
    cut: int = 0
    cached: int = 0
    half: int = 0


def check(model: Decoder, seed: int, requests: int, *, pictures: bool, bits: bool) -> Seen:
    """Runs a schedule and holds its answers (see `hold`)."""
    life = Life(model, seed, pictures=pictures)
    life.run(requests)
    return hold(life, bits=bits)


def hold(life: Life, *, bits: bool) -> Seen:
    """Holds each answer to the one that its request gets alone, without reuse: to the bit, or (in float32, where chunks
    round differently) the same greedy ids but for ties. And nothing stays in the memory."""
    for key, found in {**life.done, **life.cut}.items():
        request = life.asked[key]
        if not bits and request.sampling.temperature:
            continue
        expected = life.alone(request)
        if bits:
            many = len(found.ids)
            assert key in life.cut or many == len(expected.ids)
            assert found.ids == expected.ids[:many]
            if found.logprobs is not None and expected.logprobs is not None:
                assert found.logprobs == expected.logprobs[:many]
            assert key in life.cut or (found.text, found.finish_reason) == (expected.text, expected.finish_reason)
        else:
            check_text(life.model, request, found, expected, cut=key in life.cut)
    assert life.empty()
    return Seen(len(life.done), len(life.cut), sum(found.usage.cached for found in life.done.values()), life.half)


def check_text(model: Decoder, request: Request, found: Completion, expected: Completion, *, cut: bool) -> None:
    """The same ids, except after a place where one's and the other's next id were as likely as each other."""
    for at, (one, other) in enumerate(zip(found.ids, expected.ids, strict=False)):
        if one != other:
            row, spread = likely(model, request, expected.ids[:at])
            penalty = request.sampling.repetition_penalty or 1.0
            for id in (one, other):
                if id in (*request.ids, *expected.ids[:at]):
                    row[id] = row[id] / penalty if row[id] > 0 else row[id] * penalty
            assert abs(row[one] - row[other]) < TIE * spread
            return
        if found.logprobs and expected.logprobs:
            assert abs(found.logprobs[at].logprob - expected.logprobs[at].logprob) < 1e-3
    assert cut or len(found.ids) == len(expected.ids)


def likely(model: Decoder, request: Request, ids: tuple[int, ...]) -> tuple[torch.Tensor, float]:
    """The logits `[V]` after a prompt and `ids` in one pass without memory, and their standard deviation."""
    tokens = torch.tensor([*request.ids, *ids])
    where = span([len(tokens)], images=[Image(0, image.first, image.count) for image in request.images])
    soft = eyes(model.spec.width).encode([image.picture for image in request.images]) if request.images else None
    with torch.no_grad():
        row = model(tokens, where, use=lambda hidden, head: head.logits(hidden[-1:])[0], soft=soft)
    return row, row.std().item()
