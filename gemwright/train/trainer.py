"""All that changes while a model is trained, one step at a time: weights, moments, cursor, generator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from gemwright.data.batch import Batch
from gemwright.data.pack import Cursor, Packer
from gemwright.data.tokens import TokenFile
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.train import optim, state
from gemwright.train.objective import Objective
from gemwright.train.run import Run, changed, facts
from gemwright.train.schedule import factor


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """One step: `total` nats over `count` weighted targets, of `tokens` that passed; the gradient's `norm` before
    clipping, and the `rate`."""

    total: float
    count: float
    tokens: int
    norm: float
    rate: float


class Trainer:
    """A run in memory. Made anew it has drawn its weights from the run's seed; `restore` puts back a checkpoint."""

    def __init__(self, run: Run, tokens: TokenFile, objective: Objective, device: torch.device | str = "cpu") -> None:
        self.run, self.objective, self.device = run, objective, torch.device(device)
        self.packer = Packer(tokens, row=run.data.row, seed=run.seed)
        self.generator = torch.Generator(self.device).manual_seed(run.seed)
        with self.device:
            self.model = Decoder(run.model)
        initialise(self.model, self.generator)
        self.model.train()
        self.optimizer = optim.build(self.model, run.optim)
        self.step = 0
        self.targets = 0.0  # weighted targets learnt from so far

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    def advance(self) -> Stepped:
        """One step of the optimiser. Raises `UserError`, with the batches saved and the weights as they were, where
        loss or gradient is not finite."""
        batches = self._batches()
        rate = self.run.optim.rate * factor(self.run.schedule, self.step, self.run.steps)
        optim.set_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        total = count = 0.0
        for batch in batches:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.run.compute == "bfloat16"):
                loss = self.objective(self.model, batch.to(self.device))
            if loss.count:
                loss.total.backward()
                total += float(loss.total.detach())
                count += loss.count
        if not count:
            raise UserError(f"step {self.step} has no token to learn from", hint="check the data's loss mask")
        norm = optim.divide_and_clip(self.model.parameters(), count, self.run.optim.clip)
        if not torch.tensor([total, norm]).isfinite().all():
            raise self._diverged(batches, total / count, norm)
        self.optimizer.step()
        self.step += 1
        self.targets += count
        return Stepped(total=total, count=count, tokens=sum(batch.tokens for batch in batches), norm=norm, rate=rate)

    def checkpoint(self) -> state.Checkpoint:
        """All that the rest of the run depends on."""
        return state.Checkpoint(
            step=self.step,
            tensors={
                "model": dict(self.model.named_parameters()),
                "optimizer": dict(optim.moments(self.model, self.optimizer)),
                "generators": {"run": self.generator.get_state()},
            },
            facts={
                "run": facts(self.run),
                "cursor": self.packer.cursor.to_json(),
                "targets": self.targets,
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
            self.packer.seek(Cursor(**checkpoint.facts["cursor"]))
            with torch.no_grad():
                parameters = dict(self.model.named_parameters())
                for name, tensor in checkpoint.tensors["model"].items():
                    parameters.pop(name).copy_(tensor)
            if parameters:
                raise ValueError(f"it lacks {', '.join(parameters)}")
            optim.restore_moments(self.model, self.optimizer, dict(checkpoint.tensors["optimizer"]))
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
        row = self.run.data.row
        rows, most = max(self.run.step.tokens // row, 1), self.run.step.micro // row
        return [self.packer.take(min(most, rows - first)) for first in range(0, rows, most)]

    def _diverged(self, batches: list[Batch], loss: float, norm: float) -> UserError:
        path = Path(self.run.out) / f"not-finite-step-{self.step:08d}.safetensors"
        tensors = {}
        for number, batch in enumerate(batches):
            tensors |= {
                f"{number}.ids": batch.ids,
                f"{number}.targets": batch.targets,
                f"{number}.weight": batch.weight,
            }
            tensors[f"{number}.starts"] = batch.span.tensors.starts
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path)
        return UserError(
            f"step {self.step} has a loss of {loss} and a gradient norm of {norm}; its batches are in {path}",
            hint="look at the batches, or begin a new run with a lower optim.rate",
        )


def summary(stepped: list[Stepped], seconds: float) -> dict[str, Any]:
    """Several steps as one line of a log: `loss` in nats per target, over all of them; the last rate; the largest
    gradient norm; tokens per second."""
    return {
        "loss": sum(one.total for one in stepped) / sum(one.count for one in stepped),
        "rate": stepped[-1].rate,
        "norm": max(one.norm for one in stepped),
        "tokens_per_second": sum(one.tokens for one in stepped) / max(seconds, 1e-9),
    }
