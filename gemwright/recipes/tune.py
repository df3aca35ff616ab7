"""Tuning: a checkpoint goes on learning from conversations or texts, whole or through an adapter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gemwright.errors import UserError
from gemwright.loading import open_checkpoint, save_lora
from gemwright.lora import Lora
from gemwright.paths import probe
from gemwright.text.tokenizer import Tokenizer
from gemwright.train.corpus import prepare
from gemwright.train.distill import Distill
from gemwright.train.loop import Outcome, Progress, train
from gemwright.train.optim import Optim
from gemwright.train.run import Data, Run, Step, Watch
from gemwright.train.schedule import Schedule
from gemwright.train.state import check_unused
from gemwright.weights import hub
from gemwright.weights.save import save

ROW = 2048  # tokens, or the model's context where that is shorter
WHOLE, ADAPTER = 2e-5, 2e-4  # learning rates: of all weights, of an adapter's
_UNKNOWN = 1_000_000  # steps, until the texts are counted


def tuning(
    start: str, sources: tuple[str, ...], out: str | Path, *, lora: Lora | None = None, distill: Distill | None = None
) -> Run:
    """The run that tunes the model `start` on `sources` in the folder `out`; `planned` gives it its length.

    Conversations are learnt by what the model says in them, texts whole. Raises `UserError` where `start` is no
    checkpoint of a folder, or `out` is no path.
    """
    folder = hub.resolve(start)
    opened = open_checkpoint(folder)
    if opened.layout is None:
        raise UserError(f"{start} is no plain folder of weights", hint="convert it first: gemwright convert")
    if not opened.has_tokenizer:
        raise UserError(f"{start} has no tokenizer files", hint="put them into its folder")
    row = min(ROW, opened.spec.context or ROW)
    return Run(
        name="tune",
        model=opened.spec,
        start=str(folder),
        tokenizer=folder,
        data=Data(sources=sources, weights=(), epochs=None, field="text", bad="stop", held_out=0.0, row=row),
        step=Step(tokens=4 * row, micro=row, recompute=False),
        optim=Optim(
            kind="adamw",
            rate=ADAPTER if lora else WHOLE,
            beta1=0.9,
            beta2=0.95,
            epsilon=1e-8,
            decay=0.0 if lora else 0.01,
            clip=1.0,
        ),
        schedule=Schedule(kind="cosine", warmup=0, floor=0.1, decay=0.0),
        steps=_UNKNOWN,
        seed=1,
        compute="bfloat16",
        ema=None,
        chosen="last",
        lora=lora,
        distill=distill,
        watch=Watch(log=1, evaluate=50, checkpoint=50, keep=2, tensorboard=False),
        out=probe(out),
    )


def planned(run: Run, *, epochs: float, resume: bool = False) -> Run:
    """The run, long enough to read its texts `epochs` times: they are tokenised for this. A thirtieth of the steps
    warm up, where the run names no number. Raises `UserError` as `corpus.prepare` does, and where `out` holds a run
    that is not to be resumed."""
    if not resume:
        check_unused(run.out / "checkpoints")
    files, _ = prepare(
        run.data,
        Tokenizer.load(run.tokenizer),
        run.out / "tokens",
        resume=resume,
        picture_tokens=run.picture_tokens,
    )
    tokens = sum(file.meta.tokens for file in files)
    steps = max(1, math.ceil(epochs * tokens / run.step.tokens))
    warmup = min(run.schedule.warmup or steps // 30, steps - 1)
    return replace(run, steps=steps, schedule=replace(run.schedule, warmup=warmup))


def make(
    run: Run,
    *,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[int], bool] | None = None,
) -> tuple[Outcome, Path | None]:
    """Trains, and writes `out/model`, all that `start` held and was not trained included (a frozen tower, say), or
    `out/adapter` as PEFT does (None where the run was stopped, with a checkpoint to resume from). Raises `UserError` as
    `train` does."""
    if not resume:
        check_unused(run.out / "checkpoints")
    # As if resumed: the tokens that `planned` made are taken as they are.
    outcome = train(run, resume=True, progress=progress, stop=stop)
    if not outcome.finished:
        return outcome, None
    assert run.start is not None
    if run.lora is not None:
        return outcome, save_lora(outcome.model, run.out / "adapter", base=run.start)
    layout = open_checkpoint(Path(run.start)).layout
    return outcome, save(outcome.model, run.out / "model", tower=outcome.tower, layout=layout, overwrite=resume)
