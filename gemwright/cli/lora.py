"""`gemwright lora`: put an adapter into a model's weights, or look at what one does."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemwright.cli import convert, options, show
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.weights.adapted import Delta

app = typer.Typer(no_args_is_help=True, help="Put a LoRA adapter into a model's weights, or look at what one does.")

Source = Annotated[str, typer.Argument(metavar="MODEL", help="A folder, a .gguf or .ckpt file, or a name.")]
Folder = Annotated[Path, typer.Argument(metavar="ADAPTER", help="A folder that PEFT wrote.", show_default=False)]


@app.command(no_args_is_help=True)
def merge(
    model: Source,
    adapter: Folder,
    out: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    dtype: Annotated[str, typer.Option(help="auto (the model's own), bfloat16 or float32.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that is there.")] = False,
    json: options.Json = False,
) -> None:
    """Write a model with an adapter in its weights, as a Hugging Face folder.

    Each sum is made in float32 and rounded once. Names, shards and config are those of the model's folder.

    Example: [bold]gemwright lora merge gemma-3-1b-it adapter --out tuned[/bold]
    """
    if out.suffix == ".gguf":
        raise UserError(f"{out} is a GGUF file, and a folder is written", hint="merge into a folder, then convert that")
    tree = _merged(model, adapter, out, dtype, overwrite)
    if json:
        show.as_json(tree)
    else:
        print(f"{out}: {tree['model']} with {tree['modules']} adapted matrices")


def _merged(model: str, adapter: Path, out: Path, dtype: str, overwrite: bool) -> dict[str, Any]:
    import torch

    from gemwright.loading import load_model
    from gemwright.weights import peft
    from gemwright.weights.save import save

    with show.waiting(f"loading {model}"):
        loaded = load_model(model, dtype=dtype, device="cpu", adapter=adapter)
    count = len(peft.read(adapter, loaded.spec).adapter.modules)
    kept: torch.dtype | None = None if dtype == "auto" and loaded.layout is not None else loaded.dtype
    for note in loaded.notes:
        show.note(note)
    with tempfile.TemporaryDirectory() as work, show.waiting(f"writing {out}"):
        extras, documents = ([], {}) if loaded.layout else convert.beside(loaded.folder, Path(work))
        save(
            loaded.model,
            out,
            layout=loaded.layout,
            dtype=kept,
            overwrite=overwrite,
            extras=extras,
            documents=documents,
        )
    if loaded.layout is None:
        convert.tell_left(loaded.left)
    return {"folder": str(out), "model": loaded.spec.name, "modules": count}


@app.command(no_args_is_help=True)
def doctor(model: Source, adapter: Folder, json: options.Json = False) -> None:
    """Show what an adapter does to each matrix: the size of what it adds beside the matrix's own.

    What lacks its partner is named. The exit code is 1 where nothing is changed, or a number is not finite.

    Example: [bold]gemwright lora doctor gemma-3-1b-it adapter[/bold]
    """
    from gemwright.loading import open_checkpoint
    from gemwright.weights import hub, peft
    from gemwright.weights.adapted import deltas

    opened = open_checkpoint(hub.resolve(model))
    found = peft.read(adapter, opened.spec)
    with show.counting("measuring", len(found.adapter.modules)) as done:
        rows: list[Delta] = []
        for delta in deltas(opened.source, opened.names, found.adapter):
            rows.append(delta)
            done(len(rows))
    if json:
        show.as_json(_tree(opened.spec.name, rows, found.adapter.base))
    else:
        _print(rows, found.adapter.base)
    for note in found.notes:
        show.note(note)
    if all(row.delta == 0 for row in rows) or not all(math.isfinite(row.delta) for row in rows):
        raise typer.Exit(1)


def _flag(row: Delta) -> str:
    if not math.isfinite(row.delta):
        return "not finite"
    return "does nothing" if row.delta == 0 else ""


def _tree(name: str, rows: list[Delta], base: str | None) -> dict[str, Any]:
    modules = [
        {"module": row.module, "rank": row.rank, "delta": row.delta, "weight": row.weight, "flag": _flag(row) or None}
        for row in rows
    ]
    return {"model": name, "base": base, "modules": modules}


def _print(rows: list[Delta], base: str | None) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("module", overflow="fold")
    for title in ("rank", "|delta|", "|weight|", "share"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", style="bold red", no_wrap=True)
    for row in rows:
        numbers = (f"{row.delta:.3g}", f"{row.weight:.3g}", f"{row.share:.2%}")
        table.add_row(row.module, str(row.rank), *numbers, _flag(row))
    show.console().print(table)
    idle = sum(row.delta == 0 for row in rows)
    print(f"{len(rows)} matrices adapted, {idle} of them unchanged" + (f"; made for {base}" if base else ""))
