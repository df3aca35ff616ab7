"""Pictures through the engine: neither chunks, neighbours, sessions nor interruptions may show in what it says."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy
import pytest
import small
import torch
from equivalence import LOGITS, LOGPROBS, equivalence, off, same_bits
from torch import Tensor

from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.engine.engine import Engine
from gemwright.engine.eyes import Eyes, SoftCache
from gemwright.engine.looking import Looking
from gemwright.engine.progress import Session
from gemwright.engine.request import Completion, PromptImage, Request, Sampling
from gemwright.image.picture import picture
from gemwright.image.resize import pixels
from gemwright.nn.gemma import Tower
from gemwright.ops.span import Image, span

ATTENTIVE = ("global", "capped", "local")
SIDE, SOFT = 56, 16  # more soft tokens than a window or the cache's slack has
VISION = Vision(
    tower=Encoder(image=SIDE, patch=14, width=16, hidden=24, heads=2, depth=1, norm_epsilon=1e-6), tokens=SOFT
)
TOKENS = 16
TIE = 1e-4  # of the logits' standard deviation
MARK = small.VOCAB + 3  # stands for soft tokens: beyond the table


def draw_tower(vision: Vision = VISION, width: int = small.SPECS["local"].width) -> Tower:
    """The tower of these models: every parameter drawn from one seed."""
    generator = torch.Generator().manual_seed(3)
    tower = Tower(vision, width)
    with torch.no_grad():
        for parameter in tower.parameters():
            scale = 0.4 if parameter.dim() == 1 else 1.5 / parameter[0].numel() ** 0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
        tower.projector.weight.mul_(4.0)  # soft tokens as large as embeddings
    return tower.eval()


TOWER = draw_tower()


@dataclass(frozen=True)
class Prompt:
    """Text, a picture, text, a picture, text: the ids, and where the pictures are."""

    ids: tuple[int, ...]
    images: tuple[PromptImage, ...]

    def request(self, **changes: object) -> Request:
        sampling = {"temperature": 0, "max_tokens": TOKENS, "logprobs": 0} | changes
        return Request(ids=self.ids, images=self.images, sampling=Sampling(**sampling))  # type: ignore[arg-type]


def prompt(seed: int, lengths: tuple[int, ...], shown: tuple[int, ...]) -> Prompt:
    """Texts of `lengths` with the pictures `shown` (by seed) between them."""
    ids: list[int] = []
    images: list[PromptImage] = []
    for index, length in enumerate(lengths):
        ids += small.text(seed + index, length).tolist()
        if index < len(shown):
            noise = numpy.random.default_rng(shown[index]).integers(0, 256, (SIDE, SIDE, 3), dtype=numpy.uint8)
            images.append(PromptImage(first=len(ids), count=SOFT, picture=picture(noise, "noise")))
            ids += [MARK] * SOFT
    return Prompt(tuple(ids), tuple(images))


PROMPTS = (
    prompt(1, (5, 20, 3), (1, 2)),
    prompt(5, (1, 1, 4), (3, 1)),
    prompt(9, (30, 2), (2,)),
    prompt(11, (14,), ()),
    prompt(15, (2, 0, 9), (4, 5)),
)


def engine(name: str, *, sequences: int = 1, chunk: int = 512) -> Engine:
    return Engine(
        small.model(name),
        context=160,
        sequences=sequences,
        chunk=chunk,
        defaults=Sampling(),
        eyes=Eyes(lambda: TOWER),
    )


def plain_logits(name: str, some: Prompt, ids: tuple[int, ...]) -> Tensor:
    """One pass over the prompt and `ids`, without memory, the pictures' soft tokens made at one go."""
    values = numpy.stack([pixels(image.picture, SIDE) for image in some.images]) if some.images else None
    images = [Image(0, image.first, image.count) for image in some.images]
    where = span([len(some.ids) + len(ids)], images=images)
    with torch.no_grad():
        soft = None if values is None else TOWER.encode(torch.from_numpy(values)).flatten(0, 1)
        tokens = torch.tensor(some.ids + ids)
        return small.model(name)(tokens, where, use=lambda hidden, head: head.logits(hidden), soft=soft)


def check(name: str, some: Prompt, found: Completion) -> None:
    """Each drawn id is the best of a plain pass, or ties with it; log-probabilities agree."""
    assert len(found.ids) == TOKENS and found.logprobs is not None
    logits = plain_logits(name, some, found.ids)[len(some.ids) - 1 : -1]
    spread = logits.std()
    best = logits.max(-1).values
    drawn = logits.gather(1, torch.tensor(found.ids)[:, None])[:, 0]
    assert ((best - drawn) / spread).max() < TIE
    logs = torch.log_softmax(logits, -1).gather(1, torch.tensor(found.ids)[:, None])[:, 0]
    assert (torch.tensor([one.logprob for one in found.logprobs]) - logs).abs().max() <= LOGPROBS * spread


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", range(3))
@equivalence("pictures encoded some blocks at a time, now this one, now that one = each at once", "bit")
def test_encoding_in_parts(seed: int, dtype: torch.dtype) -> None:
    deep = replace(VISION, tower=replace(VISION.tower, patch=7, depth=6))
    tower, draw = draw_tower(deep).to(dtype), random.Random(seed)
    images = PROMPTS[0].images + PROMPTS[4].images
    looking = Looking(small.SPECS["local"], Eyes(lambda: tower, SoftCache(0)))
    while looking.price(images):
        looking.advance(draw.sample(images, draw.randint(1, 2)), draw.randint(1, 40))
    values = [torch.from_numpy(pixels(image.picture, SIDE))[None] for image in images]
    with torch.no_grad():
        whole = torch.cat([tower.encode(value)[0] for value in values])
    assert same_bits(looking.soft(images), whole)


@pytest.mark.parametrize("name", ATTENTIVE)
@pytest.mark.parametrize("chunk", [1, 7, 16, 33, 512])
@equivalence("a prompt with pictures in chunks of the engine = one pass without memory", "round")
def test_chunks(name: str, chunk: int) -> None:
    check(name, PROMPTS[0], engine(name, chunk=chunk).generate(PROMPTS[0].request()))


@pytest.mark.feature("batching")
@pytest.mark.parametrize("name", ATTENTIVE)
@pytest.mark.parametrize("chunk", [5, 20])
@equivalence("requests with pictures together with others = each alone", "round")
def test_together(name: str, chunk: int) -> None:
    """Some decode while others read pictures, in the same steps; the fourth and fifth enter when places are free."""
    found = engine(name, sequences=3, chunk=chunk).run([some.request() for some in PROMPTS])
    for some, completion in zip(PROMPTS, found, strict=True):
        check(name, some, completion)


@pytest.mark.feature("sessions")
@equivalence("another picture at the same place = a prompt that was never read", "round")
@pytest.mark.parametrize("name", ATTENTIVE)
def test_another_picture_in_a_session(name: str) -> None:
    """The ids of both prompts are equal: what the session remembers of the first picture must not be taken."""
    first, second = prompt(1, (5, 3), (1,)), prompt(1, (5, 3), (2,))
    assert first.ids == second.ids
    running, session = engine(name), Session()
    answers = [running.generate(some.request(), session) for some in (first, second, first)]
    for some, completion in zip((first, second, first), answers, strict=True):
        check(name, some, completion)
        assert completion.usage.cached <= 5
    last = [plain_logits(name, some, ())[-1] for some in (first, second)]
    assert off(*last) > 1000 * LOGITS  # the picture matters


@pytest.mark.feature("sessions")
@equivalence("a second turn with a second picture over a kept first one = one pass", "round")
@pytest.mark.parametrize("name", ATTENTIVE)
def test_two_turns_with_two_pictures(name: str) -> None:
    running, session = engine(name, chunk=9), Session()
    first = prompt(1, (5, 3), (1,))
    answer = running.generate(first.request(), session)
    rest = prompt(7, (2, 4), (2,))
    begin = len(first.ids) + TOKENS
    later = tuple(PromptImage(first=begin + image.first, count=SOFT, picture=image.picture) for image in rest.images)
    both = Prompt(first.ids + answer.ids + rest.ids, first.images + later)
    second = running.generate(both.request(), session)
    assert second.usage.cached == begin - 1
    check(name, both, second)


@equivalence("a request interrupted in a step with a picture, then gone on with = undisturbed", "round")
@pytest.mark.parametrize("name", ATTENTIVE)
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_interrupted(name: str, at: int) -> None:
    """The step that is interrupted may have overwritten windows: then all is read again, pictures too."""
    running, steps = engine(name, chunk=8), 0

    def stop(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == at + 1:
            raise KeyboardInterrupt

    hook = small.model(name).layers[-1].register_forward_pre_hook(stop)
    try:
        key = running.submit(PROMPTS[0].request())
        with pytest.raises(KeyboardInterrupt):
            list(running.events(key))
        completion = [event.completion for event in running.events(key)][-1]
    finally:
        hook.remove()
    assert completion is not None
    check(name, PROMPTS[0], completion)


@equivalence("sessions with pictures that gave way and came back = one pass", "round")
def test_sessions_give_way() -> None:
    running, sessions = engine("local", sequences=2, chunk=11), [Session() for _ in range(3)]
    for _ in range(2):
        for some, session in zip(PROMPTS[:3], sessions, strict=True):
            check("local", some, running.generate(some.request(), session))


@equivalence("text through an engine that could see = through one that cannot", "bit")
@pytest.mark.parametrize("name", ATTENTIVE)
def test_text_only(name: str) -> None:
    running = engine(name, chunk=7)
    blind = Engine(small.model(name), context=160, sequences=1, chunk=7, defaults=Sampling())
    some = PROMPTS[3].request()
    found, expected = running.generate(some), blind.generate(some)
    assert (found.ids, found.logprobs) == (expected.ids, expected.logprobs)
    assert not running.eyes.loaded
