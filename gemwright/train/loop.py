"""The training loop: steps, and between them the log, evaluations, checkpoints and a wish to stop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict

import torch

from gemwright.data.tokens import TokenFile
from gemwright.errors import UserError
from gemwright.text.tokenizer import Tokenizer
from gemwright.train import state
from gemwright.train.begin import taught
from gemwright.train.corpus import notes as dropped
from gemwright.train.corpus import prepare
from gemwright.train.evaluate import Evaluation, evaluate
from gemwright.train.interrupt import Interrupt
from gemwright.train.journal import Journal, summary_writer
from gemwright.train.next_token import next_token
from gemwright.train.objective import Objective
from gemwright.train.progress import Outcome, Progress, memory_now
from gemwright.train.run import Run, check
from gemwright.train.trainer import Stepped, Trainer, summary


def train(
    run: Run,
    *,
    objective: Objective | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[int], bool] | None = None,
    device: torch.device | str = "cpu",
) -> Outcome:
    """Trains the model of `run` and leaves log, tokens and checkpoints in its `out`.

    `objective`: None is the run's own, next-token or, with `run.distill`, a teacher's.
    `resume`: go on from the newest whole checkpoint there (from the start, if there is none). `progress` is called
    after every step. `stop(step)` is asked after every step; a true answer, like Ctrl-C or SIGTERM, ends the run with
    a checkpoint. On a CPU a resumed run is bit-equal to an uninterrupted one at the same number of threads.

    Raises `UserError` for settings, texts or folders that cannot be used, for a loss that is not finite, and where the
    disk is full; the checkpoints that were there are whole then, and a resumed run goes on from the newest.
    """
    check(run)
    if run.watch.tensorboard:
        summary_writer()  # now, not after an hour of preparing texts
    checkpoints = run.out / "checkpoints"
    if not resume:
        state.check_unused(checkpoints)
    tokenizer = Tokenizer.load(run.tokenizer)
    if tokenizer.vocab_size > run.model.vocab:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size} pieces, the model's table {run.model.vocab} rows",
            hint="use the tokenizer that the model is made for",
        )
    tokens, held_out = prepare(
        run.data, tokenizer, run.out / "tokens", resume=resume, picture_tokens=run.picture_tokens
    )
    found, notes = state.latest(checkpoints) if resume else (None, [])
    if found is None:
        notes += dropped(run.out / "tokens")
    trainer = Trainer(run, tokens, objective or next_token, device, fresh=found is None)
    if trainer.sight is not None and held_out is not None:
        trainer.sight.check([held_out])
    if objective is None and run.distill is not None:
        trainer.objective = taught(run, tokenizer, trainer.packer.source, device)
    if found is not None:
        notes += trainer.restore(found)
        del found  # a second copy of weights and moments
    with Journal(run.out, tensorboard=run.watch.tensorboard, step=trainer.step) as journal, Interrupt() as interrupt:
        loop = _Loop(trainer, held_out, journal, progress, notes)
        return loop.go(lambda step: bool(interrupt) or bool(stop and stop(step)))


class _Loop:
    """One process's share of a run."""

    def __init__(
        self,
        trainer: Trainer,
        held_out: TokenFile | None,
        journal: Journal,
        progress: Callable[[Progress], None] | None,
        notes: list[str],
    ) -> None:
        self._trainer, self._run, self._clock = trainer, trainer.run, trainer.clock
        self._held_out, self._journal, self._progress, self._notes = held_out, journal, progress, notes
        self._evaluation: Evaluation | None = None
        self._evaluated = self._saved = -1  # the step at which each was last done
        self._began, self._first = time.monotonic(), trainer.step
        self._tokens = self._told = 0  # of this process: all, and those of lines that are written
        self._earlier = self._clock.seconds.copy()  # the clock at the last line

    def go(self, stop: Callable[[int], bool]) -> Outcome:
        """To the end, or until `stop(step)` is true. Raises `UserError`, and says so in the log if it can."""
        try:
            finished = self._steps(stop)
        except UserError as error:
            with contextlib.suppress(UserError):  # a full disk takes no line either
                self._journal.write("failed", step=self._trainer.step, message=error.message)
            raise
        if finished:
            self._trainer.hand_over()
        return Outcome(
            model=self._trainer.model,
            step=self._trainer.step,
            targets=self._trainer.targets,
            held_out=self._evaluation,
            finished=finished,
            seconds=time.monotonic() - self._began,
            tower=None if self._trainer.sight is None else self._trainer.sight.tower,
        )

    def _steps(self, stop: Callable[[int], bool]) -> bool:
        """All steps that are left. Returns whether the last of the run is done."""
        watch, last = self._run.watch, self._run.steps
        self._journal.write("resume" if self._first else "start", **self._trainer.opening(), notes=self._notes)
        stopped = False
        while self._trainer.step < last and not stopped:
            stepped = self._trainer.advance()
            self._tokens += stepped.tokens
            step = self._trainer.step
            stopped = stop(step) and step != last
            if step % watch.log == 0 or step == last:
                self._line()
            if stopped:
                self._save()  # before an evaluation: who wants the process to end may not wait for long
            if step % watch.evaluate == 0 or step == last:
                self._evaluate()
            if step % watch.checkpoint == 0 or step == last:
                self._save()
            self._tell(stepped)
        if not stopped:
            self._evaluate()  # once more where a finished run is resumed: its result is asked for
        seconds = round(time.monotonic() - self._began, 3)
        self._journal.write("stopped" if stopped else "end", step=self._trainer.step, seconds=seconds)
        return not stopped

    def _line(self) -> None:
        seconds, tokens = self._clock.since(self._earlier), self._tokens - self._told
        self._journal.write(
            "step",
            step=self._trainer.step,
            targets=self._trainer.targets,
            **summary(self._trainer.since),
            tokens_per_second=tokens / max(self._clock.training(seconds), 1e-9),
            seconds={part: round(spent, 6) for part, spent in seconds.items()},
            memory=memory_now(self._trainer.device),
        )
        self._trainer.since.clear()
        self._told, self._earlier = self._tokens, self._clock.seconds.copy()

    def _evaluate(self) -> None:
        if self._held_out is None or self._evaluated == self._trainer.step:
            return
        with self._clock.part("evaluation"), self._trainer.chosen():
            self._evaluation = evaluate(
                self._trainer.model,
                self._held_out,
                row=self._run.data.row,
                batch=self._run.step.micro,
                device=self._trainer.device,
                sight=self._trainer.sight,
            )
        self._evaluated = self._trainer.step
        self._journal.write("evaluation", step=self._trainer.step, **asdict(self._evaluation))

    def _save(self) -> None:
        if self._saved == self._trainer.step:
            return
        with self._clock.part("checkpoint"):
            path = state.write(self._run.out / "checkpoints", self._trainer.checkpoint(), keep=self._run.watch.keep)
        self._saved = self._trainer.step
        self._journal.write("checkpoint", step=self._trainer.step, path=path.name)

    def _tell(self, stepped: Stepped) -> None:
        if self._progress is None:
            return
        step, steps, clock = self._trainer.step, self._run.steps, self._clock
        seconds = max(time.monotonic() - self._began, 1e-9)
        self._progress(
            Progress(
                step=step,
                steps=steps,
                loss=stepped.total / stepped.count,
                rate=stepped.rate,
                norm=stepped.norm,
                tokens_per_second=self._tokens / max(clock.training(clock.seconds), 1e-9),
                seconds=seconds,
                remaining=seconds / (step - self._first) * (steps - step),
                parts={part: spent / seconds for part, spent in clock.seconds.items()},
                memory=memory_now(self._trainer.device),
                held_out=self._evaluation,
                note=self._notes.pop(0) if self._notes else "",
            )
        )
