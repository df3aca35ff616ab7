"""`gemwright convert`: any checkpoint that can be read → a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemwright.cli import options, show


def run(
    source: Annotated[str, typer.Argument(help="A folder, a .ckpt file or a name.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    dtype: Annotated[str, typer.Option(help="auto (the file's own), bfloat16 or float32.")] = "auto",
    preset: Annotated[
        str | None, typer.Option(help="The model that a .ckpt file holds.", show_default="found by its shapes")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that is there.")] = False,
    json: options.Json = False,
) -> None:
    """Write a checkpoint as a Hugging Face folder.

    From a Hugging Face folder the same names, shards and config come out; with --dtype in another precision. The
    tokenizer's files come along.

    Example: [bold]gemwright convert model.ckpt --out gemma-2b[/bold]
    """
    import torch

    from gemwright.loading import load_model
    from gemwright.weights.save import save
    from gemwright.weights.side_files import beside

    with show.waiting(f"loading {source}"):
        loaded = load_model(source, dtype=dtype, device="cpu", preset=preset)
    for note in loaded.notes:
        show.note(note)
    kept: torch.dtype | None = None if dtype == "auto" and loaded.layout is not None else loaded.dtype
    extras, documents = beside(loaded.folder) if loaded.layout is None else ([], {})
    with show.waiting(f"writing {out}"):
        out = save(
            loaded.model,
            out,
            layout=loaded.layout,
            dtype=kept,
            overwrite=overwrite,
            extras=extras,
            documents=documents,
        )
    if loaded.layout is None:  # with a layout they are copied along
        for reason, names in loaded.left.items():
            show.note(f"{len(names)} tensors are left out: {reason}")
    count = sum(parameter.numel() for parameter in loaded.model.parameters())
    if json:
        show.as_json({"folder": str(out), "parameters": count, "left": {k: list(v) for k, v in loaded.left.items()}})
    else:
        print(f"{out}: {show.number(count)} parameters of {loaded.spec.name}")
