"""The shortest whole recipe: a small Gemma 3 that learns to write as Python's own library does.

Everything comes from text that every Python installation carries: first the vocabulary, then the weights. Half an hour
on two cores gives a Hugging Face folder of a few megabytes. It has never seen a conversation and knows no facts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gemwright.arch.spec import Model
from gemwright.data.documents import PYTHON
from gemwright.errors import UserError
from gemwright.paths import probe
from gemwright.recipes.common import small_gemma3, train_and_export, train_vocabulary
from gemwright.train.corpus import documents
from gemwright.train.loop import Outcome, Progress
from gemwright.train.optim import Optim
from gemwright.train.run import Data, Run, Step, Watch
from gemwright.train.schedule import Schedule
from gemwright.train.state import check_unused

VOCAB = 4096
CONTEXT = 1024
# It samples well below temperature 1: a model of this size spreads its bets too widely.
SAMPLING = {"do_sample": True, "temperature": 0.7, "top_k": 40, "top_p": 0.95}


def model() -> Model:
    """2.4 million parameters in 12 layers, two of them global."""
    return small_gemma3(
        "python", width=128, depth=12, heads=4, kv_heads=1, head_dim=32, hidden=288, vocab=VOCAB, context=CONTEXT
    )


def python(out: str | Path) -> Run:
    """The run in the folder `out`. Raises `UserError` where `out` is no path."""
    out = probe(out)
    return Run(
        name="python",
        model=model(),
        start=None,
        tokenizer=out / "tokenizer",
        data=Data(sources=(PYTHON,), weights=(), epochs=None, field="text", bad="stop", held_out=0.02, row=CONTEXT),
        step=Step(tokens=4096, micro=4096, recompute=False),
        optim=Optim(kind="adamw", rate=2e-3, beta1=0.9, beta2=0.95, epsilon=1e-8, decay=0.1, clip=1.0),
        schedule=Schedule(kind="cosine", warmup=100, floor=0.05, decay=0.0),
        steps=1500,
        seed=1,
        compute="float32",
        ema=None,
        chosen="last",
        lora=None,
        distill=None,
        watch=Watch(log=10, evaluate=250, checkpoint=250, keep=2, tensorboard=False),
        out=out,
    )


def make(
    run: Run,
    *,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[int], bool] | None = None,
) -> tuple[Outcome, Path | None]:
    """Trains the vocabulary, then the model, and writes the folder `out/model` (None where the run was stopped, with
    a checkpoint to resume from). Raises `UserError` as `train` does."""
    if not resume:
        _check_untouched(run)
    # A vocabulary that is there already is kept: the tokens of a run that has begun are made of it.
    if not (resume and (run.tokenizer / "tokenizer_config.json").is_file()):
        vocabulary(run, overwrite=resume and run.tokenizer == run.out / "tokenizer")
    return train_and_export(
        run,
        sampling=SAMPLING,
        converses=False,
        resume=resume,
        progress=progress,
        stop=stop,
    )


def _check_untouched(run: Run) -> None:
    """Raises `UserError` where a run is under way, or something lies where this one would write."""
    check_unused(run.out / "checkpoints")
    if taken := [path for path in (run.tokenizer, run.out / "model") if path.exists()]:
        raise UserError(f"{taken[0]} is there already", hint="resume the run that made it, or choose another folder")


def vocabulary(run: Run, *, overwrite: bool = False) -> None:
    """Trains the tokenizer of `run` on its training side; held-out text takes no part. Raises `UserError` where its
    folder holds one already, unless `overwrite`."""
    texts = (document.text for document in documents(run.data, "train"))
    train_vocabulary(texts, run.model.vocab, run.tokenizer, overwrite=overwrite)
