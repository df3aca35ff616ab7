"""A run begins with fresh weights, or with those of another model of the same shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.runlog import read
from gemwright.train.begin import build
from gemwright.train.distill import REPORTED
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


def test_a_run_with_a_teacher_learns_from_it_and_logs_both_terms(
    make_run: Callable[..., Run], teacher_folder: Path
) -> None:
    run = make_run("taught")
    distill = replace(REPORTED, teacher=str(teacher_folder), samples=16, share=0.5)
    run = replace(run, tokenizer=teacher_folder, distill=distill)
    train(run)
    lines = [line for line in read(run.out / "log.jsonl") if line["kind"] == "step"]
    assert len(lines) == run.steps
    for line in lines:
        assert line["loss"] == pytest.approx(0.5 * line["distilled"] + 0.5 * line["plain"], rel=1e-5)


def test_a_run_with_a_teacher_of_another_tokenizer_is_refused(make_run: Callable[..., Run]) -> None:
    run = replace(make_run("refused"), distill=replace(REPORTED, teacher="pocket"))
    with pytest.raises(UserError, match="tokenizer"):
        train(run)
