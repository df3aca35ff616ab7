"""`gemwright pull`: fetch a checkpoint from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemwright.cli import options, show


def run(
    name: Annotated[str, typer.Argument(help="A hub name such as google/gemma-3-1b-it.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files.", show_default="the hub's cache on this machine")
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="Access token.", show_default="the one of `hf auth login`, or HF_TOKEN")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.", show_default="main")] = None,
    json: options.Json = False,
) -> None:
    """Fetch a checkpoint from the Hugging Face hub.

    Weights, config and tokenizer; a broken download resumes. Gemma's licence must be accepted once on the model's page.

    Example: [bold]gemwright pull google/gemma-3-1b-it --out gemma-3-1b-it[/bold]
    """
    from gemwright.weights import hub

    folder = hub.pull(name, folder=out, token=token, revision=revision)
    if json:
        show.as_json({"name": name, "folder": str(folder)})
    else:
        print(folder)
