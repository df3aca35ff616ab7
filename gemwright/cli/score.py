"""`gemwright score`: how likely a model finds a text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemwright.cli import options, show
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.lm import LM, Score

_BAR = 20  # characters of a token's bar: a whole one is probability 1


def run(
    text: Annotated[str | None, typer.Argument(help="The text; - reads stdin.", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="Score a file instead, as a whole.", show_default=False)] = None,
    model: options.ModelOption = "pocket",
    window: Annotated[
        int | None, typer.Option(min=3, help="Tokens that are read together.", show_default="the model's context")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Tokens between windows.", show_default="half a window")
    ] = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quant: options.Quant = None,
    int8_cache: options.Int8Cache = False,
    adapter: options.NamedAdapter = None,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Show how likely a text is.

    Of a text each token, of a file the perplexity. What is longer than the window is read in windows that overlap.

    Example: [bold]gemwright score "for i in range(10):"[/bold]
    """
    if (text is None) == (file is None):
        raise UserError("there must be a text or a file, and not both", hint='gemwright score "def " or --file FILE')
    content = options.read_file(file) if file is not None else options.read_stdin() if text == "-" else text or ""
    inside, named, name = options.read_adapter(adapter)
    held = {"quant": quant, "adapter": inside, "int8_cache": int8_cache, "adapters": named}
    lm = options.load(model, device, dtype, threads, **held)
    with show.waiting("reading"):
        found = lm.score(content, window=window, stride=stride, adapter=name)
    summary = _summary(found, content)
    if json:
        tokens = [
            {"id": id, "piece": _piece(lm, id), "logprob": value}
            for id, value in zip(found.ids[1:], found.logprobs, strict=True)
        ]
        chosen = {"adapter": name} if name is not None else {}
        show.as_json({"model": lm.spec.name, **chosen, **summary, "tokens": tokens})
        return
    if file is None:
        _print_tokens(lm, found)
    print(
        f"{found.tokens} tokens, {summary['nats_per_token']:.4f} nats a token, "
        f"{summary['bits_per_byte']:.4f} bits a byte, perplexity {summary['perplexity']:.2f}"
    )


def _summary(found: Score, content: str) -> dict[str, Any]:
    nats = -math.fsum(found.logprobs)
    return {
        "count": found.tokens,
        "logprob": -nats,
        "nats_per_token": nats / found.tokens,
        "bits_per_byte": nats / math.log(2) / max(1, len(content.encode("utf-8", "surrogatepass"))),
        "perplexity": found.perplexity,
    }


def _piece(lm: LM, id: int) -> str:
    return lm.tokenizer.piece(id) if lm.tokenizer is not None and id < lm.tokenizer.vocab_size else f"#{id}"


def _print_tokens(lm: LM, found: Score) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, side in (("id", "right"), ("piece", "left"), ("log p", "right"), ("p", "right"), ("", "left")):
        table.add_column(title, justify=side, no_wrap=True)  # type: ignore[arg-type]
    for id, value in zip(found.ids[1:], found.logprobs, strict=True):
        share = math.exp(value)
        bar = Text("█" * round(share * _BAR), style="green")
        piece = Text(repr(_piece(lm, id))[1:-1], style="bold")
        table.add_row(str(id), piece, f"{value:.3f}", f"{share:.1%}", bar)
    show.console().print(table)
