"""`gemwright plan`: what a model needs, before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gemwright.cli import options, show

if TYPE_CHECKING:
    from rich.table import Table

    from gemwright.planner.fit import Plan


def run(
    model: options.Model = "pocket",
    context: Annotated[
        int | None, typer.Option(help="Tokens of each sequence.", show_default="what the model was made for")
    ] = None,
    batch: Annotated[int, typer.Option("--sequences", "--batch", help="Sequences at once.")] = 1,
    reuse: Annotated[int, typer.Option(help="Beginnings of prompts that are kept for later ones.")] = 0,
    memory: Annotated[
        str | None, typer.Option(help="Memory that may be used, as in 8G.", show_default="what is free here")
    ] = None,
    dtype: options.Dtype = "auto",
    quant: options.Quant = None,
    int8_cache: options.Int8Cache = False,
    adapter: options.Adapters = None,
    speculate: options.Speculate = "auto",
    draft: options.DraftModel = None,
    chunk: Annotated[int, typer.Option(help="Prompt tokens in a step.")] = 512,
    json: options.Json = False,
) -> None:
    """Show the memory that a model needs.

    By what it is for, with the longest context that fits. Published names need no files, and nothing is loaded.

    Example: [bold]gemwright plan gemma-3-12b --context 131072 --memory 32G[/bold]
    """
    from gemwright.planner.fit import plan
    from gemwright.planner.measure import available

    room = show.read_size(memory) if memory else available()
    _, named = options.read_adapters(adapter)  # one in the weights takes nothing more
    shape = {"context": context, "batch": batch, "reuse": reuse, "chunk": chunk, "quant": quant}
    beside = {"int8_cache": int8_cache, "adapters": named, "speculate": speculate, "draft": draft}
    counted = plan(model, **shape, **beside, dtype=dtype, memory=room)
    if json:
        show.as_json(counted.to_json())
        return
    out = show.console()
    kept = counted.dtype if counted.quant is None else f"{counted.quant}, activations kept in {counted.dtype}"
    out.print(f"[bold]{counted.name}[/bold] in {kept}: {_sequences(counted)}, prompts in chunks of {chunk}")
    out.print(_table(counted))
    for line in _remarks(counted, given=memory is not None):
        out.print(line)


def _sequences(counted: Plan) -> str:
    sequences = "1 sequence" if counted.batch == 1 else f"{counted.batch} sequences"
    kept = {0: "", 1: ", 1 beginning kept"}.get(counted.reuse, f", {counted.reuse} beginnings kept")
    return f"{sequences} of {show.number(counted.context)} tokens{kept}"


def _table(counted: Plan) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=False)
    table.add_column("what for")
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("", style="dim")

    def row(name: str, count: int, remark: str = "") -> None:
        if count:
            table.add_row(name, show.size(count), remark)

    for part, count in counted.weights.items():
        row(f"weights: {'embedding table' if part == 'table' else part}", count)
    row("weights: copies for the kernels", counted.copies, "norms in float32, gates, alignment")
    row("adapters", counted.adapters, "float32, beside the weights")
    row("draft: weights", counted.draft_weights, "of the model that guesses")
    grows = ("in bytes, " if counted.int8_cache else "") + "grows with the context"
    row("cache: global layers", counted.cache["global"], grows)
    row("cache: local layers", counted.cache["local"], "the window, and 8 tokens of slack")
    row("cache: recurrent state", counted.cache["recurrent"], "the same at every length")
    row("draft: cache", counted.draft_cache, "all of its layers")
    largest = max(counted.activations, counted.logits, counted.draft_working, counted.reading)
    for name, count in (
        ("activations of a chunk", counted.activations),
        (f"logits, {counted.ahead} guesses among them" if counted.ahead else "logits", counted.logits),
        ("draft: a step", counted.draft_working),
        ("adapters, tokenizers: while read", counted.reading),
    ):
        row(name, count, "the largest of what takes turns" if count == largest else "takes turns with the largest")
    row("tokenizer", counted.tokenizer)
    row("runtime", counted.runtime, "modules; measured once")
    row("scratch", counted.scratch, "inside kernels; measured once")
    table.add_section()
    table.add_row("[bold]peak[/bold]", f"[bold]{show.size(counted.total)}[/bold]", "beside what torch itself takes")
    return table


def _remarks(counted: Plan, *, given: bool) -> list[str]:
    lines = []
    if counted.all_full > counted.cache_bytes:
        share = counted.cache_bytes / counted.all_full
        lines.append(
            f"cache: {show.size(counted.cache_bytes)}; were every attention layer global, "
            f"{show.size(counted.all_full)} ({share:.0%} of it)"
        )
    if counted.vision:
        lines.append(
            f"vision tower: {show.size(counted.vision)} in the files, not loaded and not counted; "
            f"{show.size(counted.encoding)} more while it encodes pictures"
        )
    if counted.memory is not None:
        where = f"in {show.size(counted.memory)}" + ("" if given else " (free on this machine)")
        fits = "[green]fits[/green]" if counted.fits else "[red]does not fit[/red]"
        if counted.unbounded:
            longest = "any context does"
        elif counted.longest:
            longest = f"the longest context that does is {show.number(counted.longest)} tokens"
        else:
            longest = "no context does"
        lines.append(f"{where}: {fits}; {longest}")
    return lines
