"""A forecast times a step where that is quick, and says what it is worth where it is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.planner.training import plan_training
from gemwright.train import forecast as module
from gemwright.train import optim
from gemwright.train.forecast import forecast, shape
from gemwright.train.run import Run, override

MakeRun = Callable[..., Run]


def test_a_small_run_is_tried_out_and_nothing_is_written(make_run: MakeRun) -> None:
    run = override(make_run(), ["steps=1000", "ema=0.9"])
    told = forecast(run, price=3600.0)
    assert told.basis == "step" and 0 < told.seconds < 1000 and told.cost == pytest.approx(told.seconds)
    assert told.plan.tokens == 64_000 and told.plan.memory.average == told.plan.memory.weights
    assert not run.out.exists()


def test_a_large_run_is_timed_by_the_rate_of_products(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 0.0)
    monkeypatch.setattr(module, "_rate", lambda *_: 1e9)
    told = forecast(override(make_run(), ["steps=3"]))
    assert told.basis == "products" and told.seconds == pytest.approx(told.plan.total_flops / 1e9)
    assert told.cost is None and told.to_json()["seconds"] == told.seconds


def test_the_rate_of_products_is_a_rate(make_run: MakeRun) -> None:
    assert 1e8 < module._rate(shape(make_run()).compute, module.torch.device("cpu")) < 1e14


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_the_moments_are_those_that_the_optimiser_makes(make_run: MakeRun, kind: str) -> None:
    run = override(make_run(), [f"optim.kind={kind}"])
    model = Decoder(run.model)
    initialise(model, torch.Generator().manual_seed(0))
    optimizer = optim.build(model, run.optim)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    held = sum(tensor.nbytes for name, tensor in optim.moments(model, optimizer) if not name.startswith("step."))
    assert plan_training(run.model, shape(run)).memory.moments == held


def test_settings_that_make_no_run_are_refused(make_run: MakeRun) -> None:
    run = make_run()
    broken = type(run)(**{**vars(run), "steps": 0})
    with pytest.raises(UserError, match="steps cannot be 0"):
        forecast(broken)
