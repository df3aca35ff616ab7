"""A slow tower beside a fast decoder: pictures are encoded block by block, and nobody waits for them but who shows
them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from sight import VISION, Counting, draw_tower, noise

from gemwright.engine.engine import Engine
from gemwright.engine.eyes import Eyes, SoftCache
from gemwright.engine.looking import Looking
from gemwright.engine.request import Completion, Event, PromptImage, Request, Sampling
from gemwright.image.picture import picture
from gemwright.image.resize import pixels
from gemwright.nn.decoder import Decoder
from gemwright.planner.count import BEGUN, parameters

pytestmark = pytest.mark.usefixtures("one_thread")

Tiny = Callable[[str], Decoder]
SEES = "gemma-3-1b"
DEPTH, SOFT, SIDE = 9, 4, 56
SLOW = replace(VISION, tower=replace(VISION.tower, image=SIDE, patch=4, depth=DEPTH), tokens=SOFT)  # 196 patches
CHUNK = 16  # encoding for the price of two tokens: less than that of a block


class Slow(Counting):
    """A tower that counts the blocks that it runs."""

    def __init__(self) -> None:
        super().__init__(vision=SLOW)
        self.blocks = 0
        for layer in self.tower.encoder.layers:
            layer.register_forward_pre_hook(self._count)

    def _count(self, *_: object) -> None:
        self.blocks += 1


def image(seed: int, first: int = 1) -> PromptImage:
    return PromptImage(first=first, count=SOFT, picture=picture(noise(seed), f"{seed}"))


def asked(*shown: int, text: int = 5, most: int = 4, priority: int = 0) -> Request:
    """Pictures by their seeds, each after a token, and a text."""
    images = tuple(image(seed, first=1 + index * (SOFT + 1)) for index, seed in enumerate(shown))
    drawn = torch.randint(9, 303, (text,), generator=torch.Generator().manual_seed(text)).tolist()
    sampling = Sampling(temperature=0, max_tokens=most, ignore_eos=True, logprobs=0)
    return Request(ids=(*[20, *[0] * SOFT] * len(shown), *drawn), images=images, sampling=sampling, priority=priority)


def engine(tiny: Tiny, eyes: Eyes, sequences: int = 3) -> Engine:
    return Engine(tiny(SEES), eyes=eyes, context=128, sequences=sequences, chunk=CHUNK)


def finish(engine: Engine) -> dict[int, Completion]:
    done: dict[int, Completion] = {}
    while engine.busy:
        done |= {event.request: event.completion for event in engine.step() if event.completion is not None}
    return done


def at_once(tiny: Tiny, request: Request) -> Completion:
    """The answer where all of the pictures were encoded whole, before the engine saw the request."""
    eyes = Slow().eyes()
    for one in request.images:
        eyes.encode([one.picture])
    return engine(tiny, eyes, sequences=1).generate(request)


def same(one: Completion, other: Completion) -> bool:
    """To float32's rounding: it differs with the company that a row has."""
    assert one.logprobs is not None and other.logprobs is not None
    pairs = zip(one.logprobs, other.logprobs, strict=True)
    return one.ids == other.ids and all(abs(mine.logprob - theirs.logprob) < 1e-4 for mine, theirs in pairs)


def test_another_stream_draws_a_token_with_every_block(tiny: Tiny) -> None:
    slow = Slow()
    running = engine(tiny, slow.eyes())
    stream = running.submit(asked(most=60))
    running.step()
    running.submit(asked(1))
    steps = 0
    while slow.blocks < DEPTH:
        before = slow.blocks
        events = running.step()
        assert slow.blocks == before + 1 and [event.request for event in events][:1] == [stream]
        steps += 1
    assert steps == DEPTH


def test_answers_are_those_of_pictures_encoded_at_once(tiny: Tiny) -> None:
    requests = [asked(1), asked(2, 1, text=40), asked(most=30), asked(3, text=9), asked(2, 3, 1)]
    found = engine(tiny, Slow().eyes(), sequences=2).run(requests)
    for request, one in zip(requests, found, strict=True):
        assert same(one, at_once(tiny, request))


def test_soft_tokens_are_those_of_the_tower_at_once(tiny: Tiny) -> None:
    looking = Looking(tiny(SEES).spec, Slow().eyes())
    images, steps = [image(1), image(2), image(1)], 0
    while looking.price(images):
        looking.advance(images, 1)
        steps += 1
    values = [torch.from_numpy(pixels(one.picture, SIDE))[None] for one in images]
    with torch.no_grad():
        whole = torch.cat([draw_tower(vision=SLOW).encode(value)[0] for value in values])
    assert steps == 2 * DEPTH and torch.equal(looking.soft(images), whole)


def test_the_price_is_the_work_in_tokens_of_the_decoder(tiny: Tiny) -> None:
    """Counted on the modules: a product with `[O, I]` takes O · I multiplications a row, attention P² · D twice."""
    spec, slow = tiny(SEES).spec, Slow()
    looking, products = Looking(spec, slow.eyes()), []

    def count(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        products.append(output.shape[0] * module.get_parameter("weight").numel())

    with torch.no_grad():
        for module in slow.tower.encoder.layers.modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_hook(count)
        slow.tower.encode(torch.zeros(1, 3, SIDE, SIDE))
    patches, width = SLOW.tower.grid**2, SLOW.tower.width
    work = sum(products) + DEPTH * 2 * patches**2 * width
    token = sum(count for part, count in parameters(spec).items() if part not in ("table", "norms"))
    assert looking.price([image(1)]) == -(-work // token)
    looking.advance([image(1)], 1)
    assert looking.price([image(1)]) == -(-work * (DEPTH - 1) // (token * DEPTH))
    assert looking.price([image(1), image(2)]) == -(-work * (2 * DEPTH - 1) // (token * DEPTH))
    assert looking.price([]) == 0


def test_a_cheap_tower_costs_no_step(tiny: Tiny) -> None:
    """Its pictures are encoded in the step that reads them."""
    running = Engine(tiny(SEES), eyes=Counting().eyes(), context=128, sequences=1)
    running.submit(asked(1))
    assert len(running.step()) == 1


@pytest.mark.parametrize("blocks", [1, 4, DEPTH - 1])
def test_the_encoder_of_a_cancelled_request_stops(tiny: Tiny, blocks: int) -> None:
    slow = Slow()
    running = engine(tiny, slow.eyes())
    stream, seeing = running.submit(asked(most=30)), running.submit(asked(1))
    while slow.blocks < blocks:
        running.step()
    assert len(running._looking) == 1
    running.cancel(seeing)
    assert len(running._looking) == 0
    assert list(finish(running)) == [stream] and slow.blocks == blocks
    assert same(running.generate(asked(1)), at_once(tiny, asked(1)))


@pytest.mark.parametrize("leaves", [False, True])
def test_two_requests_for_a_picture_share_its_encoding(tiny: Tiny, leaves: bool) -> None:
    """Also where the one that began it leaves midway."""
    slow = Slow()
    running = engine(tiny, slow.eyes())
    first = running.submit(asked(1))
    while slow.blocks < 4:
        running.step()
    second = running.submit(asked(1, text=9))
    running.step()
    if leaves:
        running.cancel(first)
    done = finish(running)
    assert slow.pictures == 1 and slow.blocks == DEPTH
    assert same(done[second], at_once(tiny, asked(1, text=9)))
    assert leaves or same(done[first], at_once(tiny, asked(1)))
    assert len(running._looking) == 0


def test_a_request_that_gives_up_its_place_finds_its_picture_half_encoded(tiny: Tiny) -> None:
    slow = Slow()
    running = engine(tiny, slow.eyes(), sequences=1)
    low = running.submit(asked(1))
    while slow.blocks < 4:
        running.step()
    high = running.submit(asked(2, priority=1))
    done = finish(running)
    assert list(done) == [high, low] and slow.blocks == 2 * DEPTH
    assert same(done[low], at_once(tiny, asked(1)))


def test_prompts_of_higher_priority_are_read_while_a_picture_is_half_encoded(tiny: Tiny) -> None:
    slow = Slow()
    running = engine(tiny, slow.eyes())
    running.submit(asked(1))
    running.step()
    before, high = slow.blocks, running.submit(asked(text=30, priority=1))
    events: list[Event] = []
    while not events:
        events = running.step()
    assert events[0].request == high and slow.blocks == before


@pytest.mark.parametrize("at", [1, 5, DEPTH])
def test_an_interrupt_while_a_picture_is_encoded_changes_no_answer(tiny: Tiny, at: int) -> None:
    slow = Slow()
    running = engine(tiny, slow.eyes())
    mlp = slow.tower.encoder.get_submodule(f"layers.{at - 1}.mlp")

    def stop(*_: object) -> None:
        hook.remove()
        raise KeyboardInterrupt

    hook = mlp.register_forward_pre_hook(stop)
    keys = [running.submit(asked(1)), running.submit(asked(most=9))]
    events: list[Event] = []
    with pytest.raises(KeyboardInterrupt):
        while True:
            events += running.step()
    while running.busy:
        events += running.step()
    done = {event.request: event.completion for event in events if event.completion}
    assert same(done[keys[0]], at_once(tiny, asked(1))) and same(done[keys[1]], at_once(tiny, asked(most=9)))
    assert slow.blocks == DEPTH + 1


def test_an_interrupt_in_the_last_product_is_made_good(tiny: Tiny) -> None:
    """No block is left then."""
    slow = Slow()
    running = engine(tiny, slow.eyes())

    def stop(*_: object) -> None:
        hook.remove()
        raise KeyboardInterrupt

    hook = slow.tower.projector.register_forward_pre_hook(stop)
    running.submit(asked(1))
    with pytest.raises(KeyboardInterrupt):
        finish(running)
    (done,) = finish(running).values()
    assert slow.blocks == DEPTH and same(done, at_once(tiny, asked(1)))


def test_pictures_of_one_share_wait_for_each_other_where_nothing_is_remembered(tiny: Tiny) -> None:
    slow = Slow()
    running = engine(tiny, slow.eyes(SoftCache(budget=0)))
    assert same(running.generate(asked(1, 2, 3)), at_once(tiny, asked(1, 2, 3)))
    assert slow.blocks == 3 * DEPTH and len(running._looking) == 0


def test_of_more_pictures_than_may_be_under_way_the_longest_left_is_begun_anew(tiny: Tiny) -> None:
    slow = Slow()
    looking = Looking(tiny(SEES).spec, slow.eyes())
    for seed in (*range(BEGUN), 0, BEGUN):  # 1 is now the one longest left
        looking.advance([image(seed)], 1)
    assert len(looking) == BEGUN
    blocks = []
    for seed in (0, 1):
        before = slow.blocks
        while looking.price([image(seed)]):
            looking.advance([image(seed)], 1)
        blocks.append(slow.blocks - before)
    assert blocks == [DEPTH - 2, DEPTH]


def test_the_time_of_encoding_is_in_the_books_of_all_who_take_part(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which only blocks take time: a second each."""
    slow = Slow()
    monkeypatch.setattr("time.perf_counter", lambda: float(slow.blocks))
    running = engine(tiny, slow.eyes())
    stream = running.submit(asked(most=60))
    running.step()
    seeing = running.submit(asked(1))
    done = finish(running)
    assert done[seeing].usage.prefill_seconds == DEPTH and done[seeing].usage.decode_seconds == 0
    assert done[stream].usage.decode_seconds == DEPTH
