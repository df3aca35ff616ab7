"""A run begins with fresh weights, or with those of another model of the same shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.train.begin import build
from gemwright.train.loop import train
from gemwright.train.run import Run, override
from gemwright.weights.save import save

MakeRun = Callable[..., Run]
CPU = torch.device("cpu")


def _saved(run: Run, folder: Path) -> Decoder:
    model = Decoder(run.model)
    initialise(model, torch.Generator().manual_seed(99))
    save(model, folder)
    return model


def _built(run: Run, *, fresh: bool = True) -> dict[str, torch.Tensor]:
    return dict(build(run, torch.Generator().manual_seed(run.seed), CPU, fresh=fresh).named_parameters())


def test_fresh_weights_are_decided_by_the_seed(make_run: MakeRun) -> None:
    one, again, other = (_built(override(make_run(), [f"seed={seed}"])) for seed in (5, 5, 6))
    assert all(torch.equal(tensor, again[name]) for name, tensor in one.items())
    assert not torch.equal(one["embed.weight"], other["embed.weight"])


def test_a_start_brings_its_weights_in_float32(make_run: MakeRun, tmp_path: Path) -> None:
    run = dataclasses.replace(make_run(), start=str(tmp_path / "start"))
    wanted = dict(_saved(run, tmp_path / "start").named_parameters())
    found = _built(run)
    assert all(
        torch.equal(tensor, found[name]) and found[name].dtype == torch.float32 for name, tensor in wanted.items()
    )
    assert all(parameter.requires_grad for parameter in found.values())


def test_a_start_of_another_shape_is_refused_by_what_differs(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    _saved(dataclasses.replace(run, model=dataclasses.replace(run.model, vocab=400)), tmp_path / "start")
    with pytest.raises(UserError, match="they differ in vocab"):
        _built(dataclasses.replace(run, start=str(tmp_path / "start")))


def test_a_resumed_run_needs_its_start_no_more(make_run: MakeRun, tmp_path: Path) -> None:
    run = dataclasses.replace(make_run(), start=str(tmp_path / "start"))
    _saved(run, tmp_path / "start")
    train(run, stop=lambda step: step == 2)
    for path in (tmp_path / "start").iterdir():
        path.unlink()
    assert train(run, resume=True).finished


def test_recompute_is_told_to_the_model(make_run: MakeRun) -> None:
    for word, told in (("true", True), ("false", False)):
        run = override(make_run(), [f"step.recompute={word}"])
        assert build(run, torch.Generator(), CPU, fresh=True).recompute is told
