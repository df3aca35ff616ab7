"""Each known mistake with pictures is seen by the comparison with transformers: a hundred times over its tolerance."""

from __future__ import annotations

import numpy as np
import pytest
import sights
import torch
from pairs import TOLERANCE, difference
from pixel_mistakes import CROPS, PIXELS
from sights import Conversation
from torch import Tensor

from gemwright.engine.engine import Engine
from gemwright.engine.eyes import Eyes
from gemwright.engine.request import PromptImage, Request, Sampling
from gemwright.image.pan_scan import PAN_SCAN, views
from gemwright.image.picture import Picture
from gemwright.image.resize import pixels
from gemwright.ops.span import visible

SEEN = 100  # tolerances
WIDE = sights.noise(7, width=1400, height=520)  # its last crop overruns it


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Conversation:
    return Conversation(tmp_path_factory.mktemp("sights") / "model")


def wrong_by(talk: Conversation, logits: Tensor) -> float:
    """The difference in tolerances."""
    return difference(logits, talk.logits) / TOLERANCE


def crops_wrong_by(talk: Conversation, shown: list[Picture]) -> float:
    """The same of the soft tokens of pictures that should be those of the wide one by pan and scan."""
    theirs, ours = (
        torch.from_numpy(x)
        for x in (sights.references(WIDE, pan_scan=True), np.stack([pixels(one, sights.SIDE) for one in shown]))
    )
    with torch.no_grad():
        features = talk.theirs.get_image_features(theirs).pooler_output
        found = talk.tower.encode(ours)
    return difference(found, features) / TOLERANCE if found.shape == features.shape else float("inf")


def test_pictures_wider_than_the_window_are_seen_as_transformers_does(talk: Conversation) -> None:
    """From the picture's own pixels to the logits, in one pass."""
    assert wrong_by(talk, talk.ours()) <= 1


def test_no_mistake_no_difference(talk: Conversation) -> None:
    """The ways to make mistakes change nothing by themselves."""
    with sights.by_rule(visible):
        assert wrong_by(talk, talk.ours(where=sights.tokens_of)) <= 1
    first, second, third = talk.pictures
    for cuts in ([second.first], [second.first + second.count], [first.first, third.first, third.first + third.count]):
        assert wrong_by(talk, talk.chunked(cuts, talk.pictures)) <= 1


@pytest.mark.parametrize("chunk", [7, 40, 512])
def test_the_engines_log_probabilities_after_pictures_are_those_of_transformers(talk: Conversation, chunk: int) -> None:
    """Of drawn tokens and of those likeliest in their place, in standard deviations of the logits."""
    images = tuple(
        PromptImage(first=image.first, count=image.count, picture=one)
        for image, one in zip(talk.pictures, talk.shown, strict=True)
    )
    engine = Engine(talk.model, context=200, sequences=1, chunk=chunk, eyes=Eyes(lambda: talk.tower))
    sampling = Sampling(temperature=0, max_tokens=40, logprobs=5)
    found = engine.generate(Request(ids=tuple(talk.ids.tolist()), images=images, sampling=sampling))
    assert found.logprobs is not None and len(found.logprobs) == 40
    logits = talk.oracle(torch.cat([talk.ids, torch.tensor(found.ids)]))[len(talk.ids) - 1 : -1]
    expected = torch.log_softmax(logits, -1)
    for row, one in zip(expected, found.logprobs, strict=True):
        for id, value in ((one.id, one.logprob), *one.top):
            assert abs(value - row[id]) <= TOLERANCE * logits.std()


@pytest.mark.parametrize("mistake", sights.RULES)
def test_a_wrong_rule_of_who_sees_whom_is_seen(talk: Conversation, mistake: str) -> None:
    with sights.by_rule(sights.RULES[mistake]):
        assert wrong_by(talk, talk.ours()) >= SEEN


@pytest.mark.parametrize("mistake", sights.STEPS)
def test_wrong_borders_of_a_picture_are_seen(talk: Conversation, mistake: str) -> None:
    with sights.by_rule(visible):
        assert wrong_by(talk, talk.ours(where=sights.STEPS[mistake])) >= SEEN


@pytest.mark.parametrize("mistake", sights.PLACES)
def test_wrong_positions_are_seen(talk: Conversation, mistake: str) -> None:
    assert wrong_by(talk, talk.ours(where=sights.PLACES[mistake])) >= SEEN


@pytest.mark.parametrize("mistake", sights.ENTRANCES)
def test_a_wrong_entrance_is_seen(talk: Conversation, mistake: str) -> None:
    with sights.entering(sights.ENTRANCES[mistake]):
        assert wrong_by(talk, talk.ours()) >= SEEN


@pytest.mark.parametrize("mistake", sights.SOFTS)
def test_wrong_soft_tokens_are_seen(talk: Conversation, mistake: str) -> None:
    assert wrong_by(talk, talk.ours(soft=sights.SOFTS[mistake](talk.soft))) >= SEEN


@pytest.mark.parametrize("mistake", sights.CUTS)
def test_a_picture_cut_by_a_chunk_is_seen(talk: Conversation, mistake: str) -> None:
    assert wrong_by(talk, sights.CUTS[mistake].logits(talk)) >= SEEN


@pytest.mark.parametrize("mistake", PIXELS)
def test_wrong_pixels_are_seen(talk: Conversation, mistake: str) -> None:
    assert wrong_by(talk, talk.ours(soft=talk.encode(PIXELS[mistake]))) >= SEEN


def test_crops_are_seen_as_transformers_does(talk: Conversation) -> None:
    assert crops_wrong_by(talk, views(WIDE, PAN_SCAN)) <= 1


@pytest.mark.parametrize("mistake", CROPS)
def test_wrong_crops_are_seen(talk: Conversation, mistake: str) -> None:
    assert crops_wrong_by(talk, CROPS[mistake](WIDE)) >= SEEN
