"""The tower of a run: drawn so that it can learn, or the one that the run starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import paint
import pytest
import torch

from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.nn.init import initialise, initialise_tower
from gemwright.train.pictures import FROZEN, Pictures
from gemwright.train.run import Run
from gemwright.train.tower import build
from gemwright.weights.save import save

MakeRun = Callable[..., Run]
CPU = torch.device("cpu")
TUNED = Pictures(tower="tuned", embeddings=None)


def _drawn(run: Run, seed: int = 1) -> Tower:
    assert run.model.vision is not None
    made = Tower(run.model.vision, run.model.width)
    initialise_tower(made, torch.Generator().manual_seed(seed))
    return made


@pytest.fixture
def start(make_seeing: MakeRun, tmp_path: Path) -> tuple[str, Tower]:
    """A folder of a model that sees, and its tower."""
    run, made = make_seeing(), _drawn(make_seeing())
    model = Decoder(run.model)
    initialise(model, torch.Generator().manual_seed(2))
    save(model, tmp_path / "start", tower=made)
    return str(tmp_path / "start"), made


def test_a_fresh_towers_soft_tokens_are_as_long_as_scaled_embeddings_and_tell_pictures_apart(
    make_seeing: MakeRun,
) -> None:
    made = _drawn(make_seeing())
    pixels = torch.stack([torch.from_numpy(paint.shown(number).pixels(56)) for number in range(8)])
    with torch.no_grad():
        soft = made.encode(pixels)
    assert 0.5 < float(soft.square().mean()) < 2.0
    assert float((soft - soft.mean(0)).square().mean()) > 0.05


def test_every_parameter_of_a_fresh_tower_is_drawn_by_the_generator(make_seeing: MakeRun) -> None:
    one, again, other = (dict(_drawn(make_seeing(), seed).named_parameters()) for seed in (1, 1, 2))
    assert all(parameter.isfinite().all() and torch.equal(parameter, again[name]) for name, parameter in one.items())
    matrices = [name for name, parameter in one.items() if parameter.ndim > 1]
    assert len(matrices) > 12 and not any(torch.equal(one[name], other[name]) for name in matrices)


def test_a_frozen_tower_is_that_of_the_start_and_wants_no_gradient(
    make_seeing: MakeRun, start: tuple[str, Tower]
) -> None:
    folder, wanted = start
    found = build(make_seeing(pictures=FROZEN, start=folder), torch.Generator(), CPU, fresh=True)
    assert found.digest() == wanted.digest()
    assert not any(parameter.requires_grad for parameter in found.parameters())


def test_a_tuned_tower_begins_with_the_starts_weights_and_is_trained(
    make_seeing: MakeRun, start: tuple[str, Tower]
) -> None:
    folder, wanted = start
    found = build(make_seeing(start=folder), torch.Generator(), CPU, fresh=True)
    assert found.digest() == wanted.digest()
    assert all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in found.parameters())


def test_a_tower_of_another_shape_is_refused(make_seeing: MakeRun, start: tuple[str, Tower]) -> None:
    run = make_seeing(pictures=FROZEN, start=start[0])
    assert run.model.vision is not None
    vision = replace(run.model.vision, tokens=16)
    with pytest.raises(UserError, match="not that of this run's model"):
        build(replace(run, model=replace(run.model, vision=vision)), torch.Generator(), CPU, fresh=True)


def test_a_digest_tells_weights_and_dtypes_apart(make_seeing: MakeRun) -> None:
    made = _drawn(make_seeing())
    before = made.digest()
    assert before == _drawn(make_seeing()).digest() != _drawn(make_seeing(), 2).digest()
    assert made.bfloat16().digest() != before
