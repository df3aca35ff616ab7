"""`gemwright bench`: how fast a model runs on this machine, alone or beside other programs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemwright.cli import options, show

if TYPE_CHECKING:
    from gemwright.bench.table import Result

_PREFILLS = (512, 2048)


def run(
    model: options.Model = "pocket",
    quant: Annotated[
        str | None, typer.Option(help="Store the matrices like this, as in q4_0.", show_default="as loaded")
    ] = None,
    int8_cache: options.Int8Cache = False,
    against: Annotated[
        list[str] | None, typer.Option(help="A peer to run in turn; may be given again.", show_default=False)
    ] = None,
    peers: Annotated[
        Path | None, typer.Option(help="Where peers are set up.", show_default="~/.cache/gemwright-bench")
    ] = None,
    gguf: Annotated[
        Path | None, typer.Option(help="The model as GGUF, for peers that read that.", show_default=False)
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="The model as a folder, for peers that read that.", show_default=False)
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the table shows their medians.")] = 5,
    prefill: Annotated[
        list[int] | None,
        typer.Option(min=2, help="Tokens of a prompt; may be given again.", show_default="512 and 2048"),
    ] = None,
    decode: Annotated[int, typer.Option(min=1, help="Tokens to draw in a round.")] = 64,
    batch: Annotated[int, typer.Option(min=1, help="Sequences that draw together; 1: none.")] = 8,
    long: Annotated[
        int | None, typer.Option(min=2, help="Draw behind a prompt of that many tokens too.", show_default=False)
    ] = None,
    threads: options.Threads = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the speeds into this file.", show_default=False)] = None,
    json: options.Json = False,
) -> None:
    """Measure a model's speed and memory on this machine.

    Beside the speeds stands what share of the memory's bandwidth they reach.
    With --against, other programs answer the same questions in turn, each in
    a process of its own; bench/setup.py of the source sets them up.

    Example: [bold]gemwright bench google/gemma-3-1b-it --prefill 512 --decode 32[/bold]
    """
    from gemwright.bench import match
    from gemwright.bench import peers as others
    from gemwright.weights import hub

    _check(plot)
    path = hub.resolve(model)
    chosen = others.choose(against, others.read_peers(peers)) if against else []
    measures, notes = match.questions(prefill or _PREFILLS, decode, batch, long=long, limit=match.context_of(path))
    for note in notes:
        show.note(note)
    options.use_threads(threads)
    files = {"folder": folder, "gguf": gguf}
    with _progress() as say:
        result = match.compare(
            path, measures, rounds=rounds, quant=quant, int8_cache=int8_cache, peers=chosen, say=say, **files
        )
    _show(result, plot, json)


def _check(plot: Path | None) -> None:
    if plot is not None:
        from gemwright.bench.plot import check

        check(plot)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """What is being done, on stderr, where somebody looks."""
    if not sys.stderr.isatty():
        yield lambda message: None
        return
    with show.console(stderr=True).status("") as status:
        yield lambda message: status.update(f"[dim]{message}[/dim]")


def _show(result: Result, plot: Path | None, json: bool) -> None:
    from gemwright.bench import table

    if plot is not None:
        from gemwright.bench.plot import plot as draw

        draw(result, plot)
    if json:
        show.as_json(table.to_json(result))
        return
    out = show.console()
    facts = result.facts
    how = (f", {facts['quant']}" if facts["quant"] else "") + (", int8 cache" if facts["int8_cache"] else "")
    out.print(f"[bold]{facts['model']}[/bold]{how}: {facts['threads']} threads, medians of {facts['rounds']} rounds")
    out.print(table.table(result))
    for line in table.remarks(result):
        out.print(line)
