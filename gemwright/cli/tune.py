"""`gemwright tune`: a model goes on learning from a person's own conversations or texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemwright.cli import options
from gemwright.cli.train import execute
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.lora import Lora
    from gemwright.train.distill import Distill


def run(
    model: Annotated[str, typer.Argument(help="A folder or hub name of the model to begin with.", show_default=False)],
    data: Annotated[
        list[str],
        typer.Argument(help="Chat or text files: .jsonl, .parquet, plain text, folders.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run: log, checkpoints, result.", show_default=False)],
    epochs: Annotated[float, typer.Option(help="How often the data are read.", min=0.0)] = 1.0,
    lora: Annotated[
        int | None,
        typer.Option(min=1, help="Train an adapter of this rank, not all weights.", show_default=False),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="A model with the same tokenizer to learn from as well.", show_default=False)
    ] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Go on past malformed records.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="Change a field of the run; may be given again.", show_default=False),
    ] = None,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Tune a model on conversations or texts.

    Of a conversation ({"messages": [{"role", "content"}, ...]} on a line) only what the model says is learnt. The
    result is OUT/model, or OUT/adapter with --lora, which --adapter of other commands takes.

    Example: [bold]gemwright tune google/gemma-3-1b-it chats.jsonl --out run --lora 16[/bold]
    """
    options.use_threads(threads)
    from gemwright.recipes import tune
    from gemwright.train.run import override

    if not epochs > 0:
        raise UserError("no epochs, no training", hint="write --epochs 1")
    planned = tune.tuning(model, tuple(data), out, lora=_lora(lora), distill=_distill(teacher))
    settings = ["data.bad=skip"] if skip_broken else []
    given = [*settings, *(set or [])]
    planned = override(planned, given)
    if not any(setting.partition("=")[0].strip() == "steps" for setting in given):
        planned = tune.planned(planned, epochs=epochs, resume=resume)
    execute(planned, tune.make, resume=resume, json=json)


def _lora(rank: int | None) -> Lora | None:
    """An adapter on all linear modules of every block."""
    if rank is None:
        return None
    from gemwright.lora import ALL, Lora

    return Lora(rank=rank, alpha=2.0 * rank, targets=(ALL,), dropout=0.0, rslora=False)


def _distill(teacher: str | None) -> Distill | None:
    """Half of the loss from the teacher's whole predictions."""
    if teacher is None:
        return None
    from dataclasses import replace

    from gemwright.train.distill import REPORTED

    return replace(REPORTED, teacher=teacher, kind="full", share=0.5)
