"""`gemwright batch`: a file of requests in, a file of answers out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gemwright.cli import options, show
from gemwright.errors import UserError


def run(
    source: Annotated[Path, typer.Argument(metavar="IN.jsonl", help="Requests, one on a line.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="Where answers go.", show_default=False)],
    model: options.ModelOption = "pocket",
    context: options.Context = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quant: options.Quant = None,
    int8_cache: options.Int8Cache = False,
    adapter: options.Adapters = None,
    speculate: options.Speculate = "auto",
    draft: options.DraftModel = None,
    sequences: options.Sequences = None,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Answer a file of requests.

    A line is a request of OpenAI's batch format, or an object with [bold]messages[/bold] or a [bold]prompt[/bold] and
    the options of that route; its [bold]model[/bold] may name an adapter. Answers come in the same order. A run that
    was stopped goes on where it was when called again; the exit code is 1 if a row failed.

    Example: [bold]gemwright batch questions.jsonl answers.jsonl --model google/gemma-3-1b-it[/bold]
    """
    from gemwright.server.batch import run_batch

    if not source.is_file():
        raise UserError(f"there is no file {source}", hint="check the path")
    if out.exists() and out.samefile(source):
        raise UserError(f"{out} is the input", hint="give another name for the output")
    inside, named = options.read_adapters(adapter)
    more = {"speculate": speculate, "draft": draft, "adapters": named, "sequences": sequences}
    lm = options.load(model, device, dtype, threads, context, quant, inside, int8_cache, **more)
    with source.open("rb") as file:
        lines = sum(1 for line in file if line.strip())
    with show.counting("rows", lines) as progress:
        summary = run_batch(lm, source, out, progress)
    if json:
        show.as_json(asdict(summary))
    else:
        for row in summary.failed:
            show.complain("failed", f"{row.custom_id} (line {row.line}): {row.error}")
        show.dim(
            f"{summary.answered} answered, {summary.skipped} were there, {len(summary.failed)} failed; "
            f"{summary.prompt_tokens} tokens read ({summary.cached_tokens} from the cache), "
            f"{summary.completion_tokens} drawn in {summary.seconds:.1f} s"
        )
    if summary.failed:
        raise typer.Exit(1)
