"""A tower that is loaded late, used once for each picture, and remembered within a bound."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sight import SIDE, SOFT, WIDTH, Counting, draw_tower, noise

from gemwright.engine.engine import Engine
from gemwright.engine.eyes import Eyes, SoftCache
from gemwright.engine.request import PromptImage, Request, Sampling
from gemwright.errors import UserError
from gemwright.image.pan_scan import PAN_SCAN, PanScan
from gemwright.image.picture import picture
from gemwright.image.resize import pixels
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower

pytestmark = pytest.mark.usefixtures("one_thread")

ONE = SOFT * WIDTH * 4  # bytes of a picture's soft tokens
PICTURES = [picture(noise(seed), f"{seed}") for seed in range(4)]


def test_soft_tokens_are_the_towers_in_the_order_of_the_pictures() -> None:
    eyes = Counting().eyes()
    values = torch.stack([torch.from_numpy(pixels(PICTURES[index], SIDE)) for index in (2, 0, 1)])
    with torch.no_grad():
        expected = draw_tower().encode(values).flatten(0, 1)
    found = eyes.encode([PICTURES[index] for index in (2, 0, 1)])
    assert found.shape == (3 * SOFT, WIDTH)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_tower_is_loaded_once_and_when_it_is_needed() -> None:
    counting = Counting()
    eyes = counting.eyes()
    assert not eyes.loaded and counting.loads == 0
    assert (eyes.soft, eyes.width) == (SOFT, WIDTH)
    eyes.encode(PICTURES[:1])
    assert eyes.loaded and counting.loads == 1


def test_a_picture_is_encoded_once() -> None:
    """Equal pixels are one picture, whatever it is called."""
    counting = Counting()
    eyes = counting.eyes()
    first = eyes.encode([PICTURES[0], PICTURES[1], PICTURES[0]])
    again = eyes.encode([picture(noise(0), "another name"), PICTURES[1], PICTURES[0]])
    assert counting.pictures == 2 and torch.equal(first, again)


def test_the_cache_stays_within_its_bytes_and_keeps_what_was_used_last() -> None:
    counting = Counting()
    eyes = counting.eyes(SoftCache(budget=2 * ONE + 1))
    for index in (0, 1, 0, 2):  # 2 displaces 1
        eyes.encode([PICTURES[index]])
    assert len(eyes.cache) == 2 and eyes.cache.bytes == 2 * ONE and counting.pictures == 3
    eyes.encode([PICTURES[0], PICTURES[2]])
    assert counting.pictures == 3
    eyes.encode([PICTURES[1]])
    assert counting.pictures == 4


def test_what_is_larger_than_the_cache_is_still_seen() -> None:
    eyes = Counting().eyes(SoftCache(budget=ONE - 1))
    assert len(eyes.encode(PICTURES)) == 4 * SOFT
    assert len(eyes.cache) == 0 and eyes.cache.bytes == 0


def test_towers_that_share_a_cache_do_not_meet_in_it() -> None:
    cache = SoftCache()
    one, other, same = Counting(0), Counting(1), Counting(0)
    first = one.eyes(cache).encode(PICTURES[:1])
    assert not torch.equal(first, other.eyes(cache).encode(PICTURES[:1]))
    assert torch.equal(first, same.eyes(cache).encode(PICTURES[:1]))
    assert (other.pictures, same.pictures) == (1, 0)  # the same weights are the same tower


def test_a_digest_sees_every_parameter() -> None:
    found = {draw_tower().digest()}
    names = [name for name, _ in draw_tower().named_parameters()]
    for name in names:
        tower = draw_tower()
        with torch.no_grad():
            tower.get_parameter(name).add_(0.1)
        found.add(tower.digest())
    assert len(found) == 1 + len(names)


def test_a_refusal_to_load_is_passed_on_and_tried_again() -> None:
    tries = []

    def load() -> Tower:
        tries.append(1)
        raise UserError("no tower", hint="none")

    eyes = Eyes(load)
    for _ in range(2):
        with pytest.raises(UserError, match="no tower"):
            eyes.show(noise(0))
    assert len(tries) == 2 and not eyes.loaded


@pytest.mark.parametrize("unasked", [False, True])
def test_pictures_are_cut_by_the_models_own_rule_and_habit(unasked: bool) -> None:
    rule = PanScan(min_crop=10, max_crops=3, min_ratio=1.2, overrun="cut")
    eyes = Eyes(Counting(), rule=lambda: (rule, unasked))
    wide = noise(0, width=90, height=30)
    cut = [len(eyes.show(wide, pan_scan=asked).views) for asked in (None, False, True)]
    assert cut == [4 if unasked else 1, 1, 4]
    assert len(eyes.show(noise(0), pan_scan=True).views) == 3
    assert rule != PAN_SCAN


def test_engines_that_share_eyes_encode_a_picture_once(tiny: Callable[[str], Decoder]) -> None:
    counting = Counting()
    eyes = counting.eyes()
    image = PromptImage(first=1, count=SOFT, picture=PICTURES[0])
    request = Request(ids=(2, *[0] * SOFT, 30), images=(image,), sampling=Sampling(temperature=0, max_tokens=3))
    answers = {Engine(tiny("gemma-3-1b"), eyes=eyes, context=64).generate(request).ids for _ in range(2)}
    assert len(answers) == 1 and (counting.loads, counting.pictures) == (1, 1)
