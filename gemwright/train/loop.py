"""The training loop: steps, and between them the log, evaluations, checkpoints and a wish to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from gemwright.data.tokens import TokenFile
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.runlog import RunLog
from gemwright.text.tokenizer import Tokenizer
from gemwright.train import state
from gemwright.train.corpus import prepare
from gemwright.train.evaluate import Evaluation, evaluate
from gemwright.train.interrupt import Interrupt
from gemwright.train.next_token import next_token
from gemwright.train.objective import Objective
from gemwright.train.run import Run, check, facts
from gemwright.train.trainer import Stepped, Trainer, summary


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a person wants to see after a step. `loss`: of this step, nats per token; `seconds`: since this process
    began to train; `remaining`: an estimate, in seconds; `held_out`: the latest evaluation; `note`: a sentence for
    the person, or empty."""

    step: int
    steps: int
    loss: float
    rate: float
    norm: float
    tokens_per_second: float
    seconds: float
    remaining: float
    held_out: Evaluation | None
    note: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: `finished` after its last step, or stopped before, with a checkpoint to resume from."""

    model: Decoder
    step: int
    targets: float
    held_out: Evaluation | None
    finished: bool
    seconds: float


def train(
    run: Run,
    *,
    objective: Objective = next_token,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[int], bool] | None = None,
    device: torch.device | str = "cpu",
) -> Outcome:
    """Trains the model of `run` and leaves log, tokens and checkpoints in its `out`.

    `resume`: go on from the newest whole checkpoint there (from the start, if there is none). `progress` is called
    after every step. `stop(step)` is asked after every step; a true answer, like Ctrl-C or SIGTERM, ends the run with
    a checkpoint. On a CPU a resumed run is bit-equal to an uninterrupted one at the same number of threads.

    Raises `UserError` for settings, texts or folders that cannot be used, and for a loss that is not finite.
    """
    check(run)
    checkpoints = run.out / "checkpoints"
    if not resume and state.exists(checkpoints):
        raise UserError(f"{run.out} holds a run already", hint="resume it, or choose another folder")
    tokenizer = Tokenizer.load(run.tokenizer)
    if tokenizer.vocab_size > run.model.vocab:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size} pieces, the model's table {run.model.vocab} rows",
            hint="use the tokenizer that the model is made for",
        )
    tokens, held_out = prepare(run.data, tokenizer, run.out / "tokens", resume=resume)
    trainer = Trainer(run, tokens, objective, device)
    notes: list[str] = []
    if resume:
        found, notes = state.latest(checkpoints)
        if found is not None:
            notes += trainer.restore(found)
    with RunLog(run.out / "log.jsonl") as log, Interrupt() as interrupt:
        return _Loop(trainer, held_out, log, progress, notes).go(
            lambda step: bool(interrupt) or bool(stop and stop(step))
        )


class _Loop:
    """One process's share of a run."""

    def __init__(
        self,
        trainer: Trainer,
        held_out: TokenFile | None,
        log: RunLog,
        progress: Callable[[Progress], None] | None,
        notes: list[str],
    ) -> None:
        self._trainer, self._run, self._log, self._progress = trainer, trainer.run, log, progress
        self._held_out, self._notes = held_out, notes
        self._evaluation: Evaluation | None = None
        self._evaluated = self._saved = -1  # the step at which each was last done
        self._since: list[Stepped] = []  # steps that are not logged yet
        self._seconds = 0.0  # inside steps, since the last line

    def go(self, stop: Callable[[int], bool]) -> Outcome:
        began, first = time.monotonic(), self._trainer.step
        self._log.write("resume" if first else "start", **self._opening())
        stopped = False
        while self._trainer.step < self._run.steps and not stopped:
            stepped = self._step()
            step, last = self._trainer.step, self._trainer.step == self._run.steps
            stopped = stop(step) and not last
            if step % self._run.watch.log == 0 or last or stopped:
                self._line()
            if step % self._run.watch.evaluate == 0:
                self._evaluate()
            if step % self._run.watch.checkpoint == 0 or last or stopped:
                self._save()
            self._tell(stepped, time.monotonic() - began, first)
        if not stopped:
            self._evaluate()
        seconds = time.monotonic() - began
        self._log.write("stopped" if stopped else "end", step=self._trainer.step, seconds=round(seconds, 3))
        return Outcome(
            model=self._trainer.model,
            step=self._trainer.step,
            targets=self._trainer.targets,
            held_out=self._evaluation,
            finished=not stopped,
            seconds=seconds,
        )

    def _opening(self) -> dict[str, Any]:
        packer = self._trainer.packer
        return {
            "step": self._trainer.step,
            "parameters": self._trainer.parameters,
            "pieces": packer.pieces,
            "rows": packer.rows,
            "split": packer.split,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "notes": self._notes,
            "run": facts(self._run),
        }

    def _step(self) -> Stepped:
        begin = time.monotonic()
        try:
            stepped = self._trainer.advance()
        except UserError as error:
            self._log.write("failed", step=self._trainer.step, message=error.message)
            raise
        self._seconds += time.monotonic() - begin
        self._since.append(stepped)
        return stepped

    def _line(self) -> None:
        numbers = summary(self._since, self._seconds)
        self._log.write("step", step=self._trainer.step, targets=self._trainer.targets, **numbers)
        self._since, self._seconds = [], 0.0

    def _evaluate(self) -> None:
        if self._held_out is None or self._evaluated == self._trainer.step:
            return
        self._evaluation = evaluate(
            self._trainer.model,
            self._held_out,
            row=self._run.data.row,
            batch=self._run.step.micro,
            device=self._trainer.device,
        )
        self._evaluated = self._trainer.step
        self._log.write("evaluation", step=self._trainer.step, **asdict(self._evaluation))

    def _save(self) -> None:
        if self._saved != self._trainer.step:
            path = state.write(self._run.out / "checkpoints", self._trainer.checkpoint(), keep=self._run.watch.keep)
            self._saved = self._trainer.step
            self._log.write("checkpoint", step=self._trainer.step, path=path.name)

    def _tell(self, stepped: Stepped, seconds: float, first: int) -> None:
        if self._progress is None:
            return
        done = self._trainer.step - first
        self._progress(
            Progress(
                step=self._trainer.step,
                steps=self._run.steps,
                loss=stepped.total / stepped.count,
                rate=stepped.rate,
                norm=stepped.norm,
                tokens_per_second=stepped.tokens * done / max(seconds, 1e-9),
                seconds=seconds,
                remaining=seconds / done * (self._run.steps - self._trainer.step),
                held_out=self._evaluation,
                note=self._notes.pop(0) if self._notes else "",
            )
        )
