"""What a run will take, before it begins: the planner's counts, and the time that this machine needs for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.ops.span import span
from gemwright.planner.measure import available
from gemwright.planner.training import Shape, TrainingPlan, plan_training
from gemwright.train import optim
from gemwright.train.run import Run, check

_MOST = 2e11  # operations of a micro-batch that is tried out: some seconds on a small machine
_SIDE, _LEAST = 1024, 0.2  # of the products that are timed instead, and for how many seconds

Basis = Literal["step", "products"]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """`seconds`: of all steps, without preparing texts, evaluations and checkpoints. `basis`: a step of this run was
    timed, or only matrix products of a convenient size: no run reaches their rate, so the time is a lower bound.
    `price`: of an hour, in any currency (None: not said)."""

    plan: TrainingPlan
    seconds: float
    basis: Basis
    price: float | None

    @property
    def cost(self) -> float | None:
        """Of the run, in the price's currency."""
        return None if self.price is None else self.price * self.seconds / 3600

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        told = {"seconds": self.seconds, "basis": self.basis, "price_per_hour": self.price, "cost": self.cost}
        return {**self.plan.to_json(), **told}


def shape(run: Run) -> Shape:
    """What the planner needs to know of a run."""
    with torch.device("meta"):
        model = Decoder(run.model)
    return Shape(
        row=run.data.row,
        micro=run.step.micro,
        step=run.step.tokens,
        steps=run.steps,
        compute=torch.bfloat16 if run.compute == "bfloat16" else torch.float32,
        recompute=run.step.recompute,
        average=run.ema is not None,
        moments=optim.kept(model, run.optim),
    )


def forecast(run: Run, *, price: float | None = None, device: torch.device | str = "cpu") -> Forecast:
    """Counts a run and times a part of it; nothing is written. Raises `UserError` for settings that make no run."""
    check(run)
    given, device = shape(run), torch.device(device)
    plan = plan_training(run.model, given)
    micro = plan.step_flops * given.micro_rows / given.rows
    room = available()
    if micro <= _MOST and (room is None or plan.memory.total < room / 2):
        seconds, basis = _step(run, given, device), "step"
    else:
        seconds, basis = plan.step_flops / _rate(given.compute, device), "products"
    return Forecast(plan=plan, seconds=run.steps * seconds, basis=basis, price=price)


def _step(run: Run, given: Shape, device: torch.device) -> float:
    """Seconds of a step, from the second of two micro-batches and the second of two steps of the optimiser."""
    with device:
        model = Decoder(run.model)
    generator = torch.Generator(device).manual_seed(0)
    initialise(model, generator)
    model.recompute = run.step.recompute
    optimizer = optim.build(model.train(), run.optim)
    tokens = given.micro_rows * given.row
    ids = torch.randint(run.model.vocab, (tokens,), generator=generator, device=device)
    documents, weight = span([given.row] * given.micro_rows, device=device), torch.ones(tokens, device=device)

    def micro_batch() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=run.compute == "bfloat16"):
            loss = model(ids, documents, use=lambda hidden, head: head.cross_entropy(hidden, ids, weight))
        loss.backward()

    def update() -> None:
        optim.divide_and_clip(model.parameters(), tokens, run.optim.clip)
        optimizer.step()

    for part in (micro_batch, update):
        _seconds(part, device)
    return _seconds(micro_batch, device) * given.rows / given.micro_rows + _seconds(update, device)


def _rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second in matrix products."""
    square = torch.ones(_SIDE, _SIDE, dtype=dtype, device=device)
    _seconds(lambda: square @ square, device)
    count, spent = 0, 0.0
    while spent < _LEAST:
        spent += _seconds(lambda: square @ square, device)
        count += 1
    return 2 * _SIDE**3 * count / spent


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    begin = time.monotonic()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic() - begin
