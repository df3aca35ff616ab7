"""The embedded model: a small Gemma 3 that learns to write what Python's own standard library looks like.

Everything comes from text that every Python installation carries: first the vocabulary, then the weights. The result
is a Hugging Face folder of a few megabytes. It has never seen a conversation and knows no facts; it is there so that
every command works offline, on a model whose mechanisms (five local layers to a global one, QK-norm, two RoPE bases,
grouped queries) are all at work.

    python -m gemwright.recipes.pocket --out DIR [--resume] [--set optim.rate=1e-3 ...]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gemwright.arch.spec import Model
from gemwright.data import python_text
from gemwright.data.documents import PYTHON
from gemwright.errors import UserError
from gemwright.paths import probe
from gemwright.recipes.common import results, small_gemma3, train_and_export
from gemwright.text.train import train_tokenizer
from gemwright.train.corpus import documents, trained
from gemwright.train.loop import Outcome, Progress
from gemwright.train.optim import Optim
from gemwright.train.run import Data, Run, Step, Watch, override
from gemwright.train.schedule import Schedule
from gemwright.train.state import check_unused

VOCAB = 4096
CONTEXT = 1024
# The shipped model samples well below temperature 1: a model of this size spreads its bets too widely.
SAMPLING = {"do_sample": True, "temperature": 0.7, "top_k": 40, "top_p": 0.95}


def model() -> Model:
    """2.4 million parameters in 12 layers, two of them global."""
    return small_gemma3(
        "pocket", width=128, depth=12, heads=4, kv_heads=1, head_dim=32, hidden=288, vocab=VOCAB, context=CONTEXT
    )


def pocket(out: str | Path) -> Run:
    """The run that trained the embedded model, in the folder `out`. Raises `UserError` where `out` is no path."""
    out = probe(out)
    return Run(
        name="pocket",
        model=model(),
        start=None,
        tokenizer=out / "tokenizer",
        data=Data(sources=(PYTHON,), weights=(), epochs=None, field="text", bad="stop", held_out=0.02, row=CONTEXT),
        step=Step(tokens=4096, micro=4096, recompute=False),
        optim=Optim(rate=2e-3, beta1=0.9, beta2=0.95, epsilon=1e-8, decay=0.1, clip=1.0),
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
        facts=lambda outcome: report(run, outcome),
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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for document in documents(run.data, "train"):
                file.write(document.text)
        train_tokenizer([path], run.model.vocab, run.tokenizer, family="gemma3", overwrite=overwrite)


def report(run: Run, outcome: Outcome) -> dict[str, Any]:
    """The recipe's facts, to stand beside the weights."""
    read = _read(run)
    return {
        **_text(run),
        **results(outcome),
        "epochs": round(outcome.targets / read["tokens"], 2),
        "train": read,
    }


def _read(run: Run) -> dict[str, Any]:
    """What was trained on: its size, and the digest of each file of tokens."""
    files = [file.meta for file in trained(run.data, run.out / "tokens")]
    return {
        "sha256": " ".join(file.digest for file in files),
        "documents": sum(file.documents for file in files),
        "bytes": sum(file.bytes for file in files),
        "tokens": sum(file.targets for file in files),
    }


def _text(run: Run) -> dict[str, Any]:
    """What is known of the text: its licence and version where it is Python's own, else its sources as given."""
    if run.data.sources != (PYTHON,):
        return {"text": list(run.data.sources)}
    return {
        "text": "documentation topics and standard library source of the Python that ran the recipe",
        "text_license": "PSF-2.0",
        "python": python_text.version(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The recipe from the command line."""
    parser = argparse.ArgumentParser(prog="python -m gemwright.recipes.pocket", description="Train the embedded model.")
    parser.add_argument("--out", required=True, type=Path, help="folder of the run; the model comes to OUT/model")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change a field of the run")
    given = parser.parse_args(arguments)
    try:
        run = override(pocket(given.out), given.set)
        if PYTHON in run.data.sources and not python_text.is_pinned():
            wanted = ".".join(map(str, python_text.PINNED))
            print(f"note: Python {python_text.version()} has other text than {wanted}", file=sys.stderr)
        outcome, folder = make(run, resume=given.resume, progress=_show)
    except UserError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 2
    if folder is None:
        print(f"stopped after step {outcome.step}; --resume goes on", file=sys.stderr)
        return 130
    read = _read(run)
    own = run.data.sources == (PYTHON,)
    text = f"Python {python_text.version()}" if own else ", ".join(run.data.sources)
    print(f"text: {text}, {read['bytes']} bytes, sha256 {read['sha256']}")
    if outcome.held_out:
        print(f"held out: {outcome.held_out.loss:.4f} nats a token, {outcome.held_out.bits_per_byte:.4f} bits a byte")
    print(folder)
    return 0


def _show(progress: Progress) -> None:
    """A line on stderr now and then."""
    if progress.note:
        print(f"note: {progress.note}", file=sys.stderr)
    if progress.step % 10 == 0 or progress.step == progress.steps:
        held_out = f"  held out {progress.held_out.bits_per_byte:.3f} bits/byte" if progress.held_out else ""
        print(
            f"step {progress.step}/{progress.steps}  loss {progress.loss:.3f}"
            f"  {progress.tokens_per_second:.0f} tokens/s  {progress.remaining / 60:.0f} min left{held_out}",
            file=sys.stderr,
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
