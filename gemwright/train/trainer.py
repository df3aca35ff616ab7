"""All that changes while a model is trained, one step at a time: weights, their average, moments, cursor, generator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch

from gemwright.data.batch import Batch
from gemwright.data.pack import Cursor
from gemwright.data.tokens import TokenFile
from gemwright.errors import UserError
from gemwright.train import begin, corpus, optim, state
from gemwright.train.clock import Clock
from gemwright.train.diverged import diverged
from gemwright.train.ema import Average
from gemwright.train.objective import Objective
from gemwright.train.run import Run, changed, facts
from gemwright.train.schedule import factor
from gemwright.train.sight import open_sight, see, together


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """One step: `total` nats over `count` weighted targets, of `tokens` that passed; the gradient's `norm` before
    clipping, and the `rate`; `parts`: sums of single terms of the loss, by name (see `Sum`)."""

    total: float
    count: float
    tokens: int
    norm: float
    rate: float
    parts: Mapping[str, float]


class Trainer:
    """A run in memory. Made `fresh` it has its first weights; otherwise `restore` must bring a checkpoint's.

    `model` is the decoder, `sight` how it gets its pictures, `learner` all that is trained: the decoder and, where it
    is tuned, the tower. `since`: the steps that no line of the log has told of yet; they are part of a checkpoint, so
    that a resumed log goes on as the uninterrupted one.
    """

    def __init__(
        self,
        run: Run,
        tokens: Sequence[TokenFile],
        objective: Objective,
        device: torch.device | str = "cpu",
        *,
        fresh: bool = True,
    ) -> None:
        self.run, self.objective, self.device = run, objective, torch.device(device)
        self.packer = corpus.rows(run, tokens)
        self.generator = torch.Generator(self.device).manual_seed(run.seed)
        self.model = begin.build(run, self.generator, self.device, fresh=fresh)
        self.sight = open_sight(run, self.generator, self.device, fresh=fresh)
        if self.sight is not None:
            self.sight.check(tokens)
        self.learner = together(self.model, self.sight)
        self.optimizer = optim.build(self.learner, run.optim)
        self.average = None if run.ema is None else Average(self.learner, run.ema)
        self.clock = Clock()
        self.step = 0
        self.targets = 0.0  # weighted targets learnt from so far
        self.since: list[Stepped] = []

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in optim.trained(self.learner).values())

    def opening(self) -> dict[str, Any]:
        """What a log tells of the run where a process begins with it."""
        return {
            "step": self.step,
            "parameters": self.parameters,
            "pieces": self.packer.pieces,
            "rows": self.packer.rows,
            "split": self.packer.split,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "run": facts(self.run),
        }

    def chosen(self) -> AbstractContextManager[None]:
        """While the context is open, the model has the weights that the run evaluates and hands on."""
        average = self.average if self.run.chosen == "average" else None
        return nullcontext() if average is None or not self.step else average.in_place()

    def hand_over(self) -> None:
        """Gives the model, for good, the weights that the run hands on."""
        if self.average is not None and self.run.chosen == "average" and self.step:
            self.average.hand_over()

    def advance(self) -> Stepped:
        """One step of the optimiser. Raises `UserError`, with the batches saved and the weights as they were, where
        loss or gradient is not finite."""
        with self.clock.part("data"):
            batches = self._batches()
        rate = self.run.optim.rate * factor(self.run.schedule, self.step, self.run.steps)
        optim.set_rate(self.optimizer, rate)
        with self.clock.part("model"):
            total, count, parts = self._gradients(batches)
        if not count:
            raise UserError(f"step {self.step} has no token to learn from", hint="check the data's loss mask")
        with self.clock.part("optimiser"):
            norm = optim.divide_and_clip(self.learner.parameters(), count, self.run.optim.clip)
            if not torch.tensor([total, norm]).isfinite().all():
                raise diverged(self.run.out, self.step, batches, total / count, norm)
            self.optimizer.step()
            self.step += 1
            if self.average is not None:
                self.average.update(self.step)
        self.targets += count
        tokens = sum(batch.tokens for batch in batches)
        self.since.append(Stepped(total=total, count=count, tokens=tokens, norm=norm, rate=rate, parts=parts))
        return self.since[-1]

    def _gradients(self, batches: list[Batch]) -> tuple[float, float, dict[str, float]]:
        """Leaves the gradients of the sum of all losses; returns that sum, its count, and the sums of its terms."""
        self.optimizer.zero_grad(set_to_none=True)
        total = count = 0.0
        parts: dict[str, float] = defaultdict(float)
        for batch in batches:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.run.compute == "bfloat16"):
                loss = self.objective(self.model, see(self.sight, batch.to(self.device)))
            if loss.count:
                loss.total.backward()
                total += float(loss.total.detach())
                count += loss.count
                for name, part in loss.parts.items():
                    parts[name] += float(part)
        return total, count, dict(parts)

    def checkpoint(self) -> state.Checkpoint:
        """All that the rest of the run depends on. Parameters that are not trained are those of `Run.start`."""
        average = {} if self.average is None else {"average": self.average.tensors}
        return state.Checkpoint(
            step=self.step,
            tensors={
                "model": optim.trained(self.learner),
                "optimizer": dict(optim.moments(self.learner, self.optimizer)),
                **average,
                "generators": {"run": self.generator.get_state()},
            },
            facts={
                "run": facts(self.run),
                "cursor": self.packer.cursor.to_json(),
                "targets": self.targets,
                "since": [asdict(one) for one in self.since],
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
            },
        )

    def restore(self, checkpoint: state.Checkpoint) -> list[str]:
        """Goes on from `checkpoint`. Returns notes on what keeps the rest from being bit-equal to an uninterrupted
        run. Raises `UserError` where the checkpoint is of another run, or of other data."""
        if differences := changed(self.run, checkpoint.facts["run"]):
            raise UserError(
                f"the run that is to be resumed differs: {'; '.join(differences)}",
                hint="resume with the settings it began with, or start again in another folder",
            )
        try:
            self.packer.seek(Cursor.from_json(checkpoint.facts["cursor"]))
            with torch.no_grad():
                parameters = optim.trained(self.learner)
                for name, tensor in checkpoint.tensors["model"].items():
                    parameters.pop(name).copy_(tensor)
            if parameters:
                raise ValueError(f"it lacks {', '.join(parameters)}")
            optim.restore_moments(self.learner, self.optimizer, dict(checkpoint.tensors["optimizer"]))
            if self.average is not None:
                self.average.restore(checkpoint.tensors["average"])
            self.since = [Stepped(**one) for one in checkpoint.facts["since"]]
        except (ValueError, KeyError, RuntimeError) as error:
            raise UserError(
                f"the checkpoint of step {checkpoint.step} does not fit this run: {error}",
                hint="start again in another folder",
            ) from error
        self.generator.set_state(checkpoint.tensors["generators"]["run"])
        self.step, self.targets = checkpoint.step, checkpoint.facts["targets"]
        now = {"threads": torch.get_num_threads(), "torch": torch.__version__}
        return [
            f"{name} was {checkpoint.facts.get(name)} and is {value}: the rest is not bit-equal to an uninterrupted run"
            for name, value in now.items()
            if checkpoint.facts.get(name) != value
        ]

    def _batches(self) -> list[Batch]:
        """The micro-batches of the next step."""
        rows, most = self.run.rows, self.run.step.micro // self.run.data.row
        return [self.packer.take(min(most, rows - first)) for first in range(0, rows, most)]


def summary(stepped: list[Stepped]) -> dict[str, Any]:
    """Several steps as one line of a log: `loss`, and the terms that it has, in nats per target, over all of them; the
    last rate; the largest gradient norm."""
    count = sum(one.count for one in stepped)
    terms = {name: sum(one.parts[name] for one in stepped) / count for name in stepped[0].parts}
    return {
        "loss": sum(one.total for one in stepped) / count,
        **terms,
        "rate": stepped[-1].rate,
        "norm": max(one.norm for one in stepped),
    }
