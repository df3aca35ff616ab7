"""`gemwright encode`: what a model's vision tower makes of pictures, on disk, for runs to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemwright.cli import options, show
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.data.report import Report
    from gemwright.nn.gemma import Tower
    from gemwright.train.embeddings import Embeddings


def run(
    data: Annotated[
        list[str],
        typer.Argument(help="Conversations that show pictures: .jsonl or .parquet files, folders.", show_default=False),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="The model whose tower looks: a folder or name.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the embeddings; one that is there is gone on with.", show_default=False)
    ],
    field: Annotated[str, typer.Option(help="Where a JSON line keeps its text: data.field.")] = "text",
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Count broken records and go on.")] = False,
    shard: Annotated[int, typer.Option(min=1, help="Pictures of a file, which is made whole or not at all.")] = 64,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Encode the pictures of conversations ahead of training.

    Each different picture goes through the tower once, whatever file it lies in and however often it is shown. A run
    that starts from the same model reads what was made by pictures.embeddings, instead of the pictures. The same
    command goes on after Ctrl-C, adds what is new, and makes damaged files again.

    Example: [bold]gemwright encode chats.jsonl --model gemma-3-4b-it --out seen[/bold]
    """
    options.use_threads(threads)
    tower = _tower(model, dtype, device)
    found, whole, report = _fill(data, field, skip_broken, tower, out, shard)
    for line in report.sentences():
        show.note(line)
    _report(found, whole, json)
    if not whole:
        raise typer.Exit(130)


def _tower(model: str, dtype: str, device: str) -> Tower:
    from gemwright.loading import load_tower

    notes: list[str] = []
    with show.waiting(f"loading the tower of {model}"):
        tower = load_tower(model, dtype=dtype, device=device, notes=notes)
    for note in notes:
        show.note(note)
    return tower.requires_grad_(False)


def _fill(
    sources: list[str], field: str, skip: bool, tower: Tower, out: Path, shard: int
) -> tuple[Embeddings, bool, Report]:
    from gemwright.data.documents import read
    from gemwright.data.report import Report
    from gemwright.train.encode import encode
    from gemwright.train.interrupt import Interrupt

    report = Report()
    entries = read(sources, field=field, bad="skip" if skip else "stop", report=report)
    with Interrupt() as interrupt, show.waiting("encoding"):
        found, whole = encode(entries, tower, out, shard=shard, note=show.note, stop=lambda: bool(interrupt))
    if whole and not len(found):
        raise UserError(
            f"{', '.join(sources)}: no conversation shows a picture", hint='write "images": ["picture.png"]'
        )
    return found, whole, report


def _report(found: Embeddings, whole: bool, json: bool) -> None:
    size = len(found) * found.facts.bytes
    if json:
        show.as_json({"folder": str(found.folder), "finished": whole, "pictures": len(found), "bytes": size})
        return
    show.note(f"{show.number(len(found))} pictures: {show.size(size)}, {show.size(found.facts.bytes)} for each")
    if not whole:
        show.note("stopped before the last picture; the same command goes on")
        return
    show.note(f"a run that starts from this model reads them: --set pictures.embeddings={found.folder}")
    print(found.folder)
