"""`gemwright tokenizer`: make a vocabulary, look at what one does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gemwright.cli import options, show
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.text.tokenizer import Tokenizer

Family = Literal["gemma1", "gemma2", "gemma3", "recurrentgemma"]

app = typer.Typer(no_args_is_help=True, help="Make a vocabulary, or look at what one does.")


@app.command(no_args_is_help=True)
def train(
    files: Annotated[list[Path], typer.Argument(help="Text files, UTF-8.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    vocab_size: Annotated[int, typer.Option(min=1, help="Pieces in all, special ones included.")] = 8192,
    family: Annotated[Family, typer.Option(help="Whose special pieces.")] = "gemma3",
    threads: Annotated[int, typer.Option(min=1, help="Threads to count with.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a tokenizer that is there.")] = False,
    json: options.Json = False,
) -> None:
    """Train a SentencePiece vocabulary with Gemma's settings and special pieces, in both file forms.

    Example: [bold]gemwright tokenizer train book.txt notes.md --vocab-size 8192 --out tokens[/bold]
    """
    from gemwright.text.train import train_tokenizer

    with show.waiting("training"):
        trained = train_tokenizer(files, vocab_size, out, family=family, threads=threads, overwrite=overwrite)
    if json:
        facts = {"bytes_read": trained.bytes_read, "bytes_used": trained.bytes_used}
        show.as_json({"folder": str(trained.folder), "vocab_size": trained.vocab_size, **facts})
    else:
        print(f"{trained.folder}: {trained.vocab_size} pieces from {show.size(trained.bytes_used)} of text")


@app.command(no_args_is_help=True)
def encode(
    text: Annotated[str, typer.Argument(help="The text; - reads stdin.", show_default=False)],
    model: options.ModelOption = "pocket",
    bos: Annotated[bool, typer.Option("--bos", help="Begin with <bos>.")] = False,
    special: Annotated[bool, typer.Option("--special", help="Names of special pieces mean those pieces.")] = False,
    json: options.Json = False,
) -> None:
    """Show the ids and pieces of a text.

    Example: [bold]gemwright tokenizer encode "for i in range(10):"[/bold]
    """
    found = _load(model)
    ids = found.encode(options.read_stdin() if text == "-" else text, bos=bos, special=special)
    if json:
        show.as_json([{"id": id, "piece": found.piece(id)} for id in ids])
        return
    print(" ".join(map(str, ids)))
    if show.is_terminal():
        show.dim(" ".join(repr(found.piece(id))[1:-1] for id in ids))


@app.command(no_args_is_help=True)
def decode(
    ids: Annotated[list[int], typer.Argument(help="Token ids.", show_default=False)],
    model: options.ModelOption = "pocket",
    special: Annotated[bool, typer.Option("--special", help="Show special pieces by name.")] = False,
    json: options.Json = False,
) -> None:
    """Show the text of token ids.

    Example: [bold]gemwright tokenizer decode 553 294 --special[/bold]
    """
    found = _load(model)
    if beyond := [id for id in ids if not 0 <= id < found.vocab_size]:
        raise UserError(f"id {beyond[0]} is not in this vocabulary", hint=f"ids go from 0 to {found.vocab_size - 1}")
    text = found.decode(ids, skip_special=not special)
    if json:
        show.as_json({"text": text})
    else:
        show.stream(text + "\n")


def _load(model: str) -> Tokenizer:
    from gemwright.text.tokenizer import Tokenizer
    from gemwright.weights import hub

    return Tokenizer.load(hub.resolve(model))
