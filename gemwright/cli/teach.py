"""`gemwright teach`: what a teacher draws, on disk, for runs to learn from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemwright.cli import options, show, train
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.data.pack import Rows
    from gemwright.text.tokenizer import Tokenizer
    from gemwright.train.distill import Distill
    from gemwright.train.run import Data
    from gemwright.train.store import Store
    from gemwright.train.teacher import Teacher

_ROW, _FIELD = 1024, "text"


def run(
    teacher: Annotated[str, typer.Argument(help="A folder, a .gguf file, a hub or preset name.", show_default=False)],
    out: Annotated[
        Path, typer.Option(help="Folder of the store; one that is there is gone on with.", show_default=False)
    ],
    data: Annotated[
        list[str] | None, typer.Argument(help="Texts or conversations: files, folders.", show_default=False)
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Take data, packing and length of this recipe's run.", show_default=False)
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="Change a field of that run, as in train.", show_default=False),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, max=256, help="Draws at each token: distill.samples.", show_default="256")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="distill.seed, of the draws; with texts, of packing too.", show_default="1"),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of what is drawn from: distill.temperature.", show_default="1")
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows to cover.", show_default="one epoch, or the recipe's run")
    ] = None,
    row: Annotated[
        int | None, typer.Option(min=2, help="Tokens of a row: data.row of the run.", show_default=str(_ROW))
    ] = None,
    held_out: Annotated[
        float | None, typer.Option(help="Share of documents left out: data.held_out.", show_default="0")
    ] = None,
    field: Annotated[
        str | None, typer.Option(help="Where a JSON line keeps its text: data.field.", show_default=_FIELD)
    ] = None,
    shard: Annotated[int, typer.Option(min=1, help="Rows of a file, which is made whole or not at all.")] = 64,
    quant: options.Quant = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Store what a teacher would say next, for students to learn from.

    At every token the teacher draws ids. A run learns from them by distill.store if its texts, their packing and its
    tokenizer are those of the store. The same command goes on after Ctrl-C, covers more --rows, and makes damaged
    files again, each alone.

    Example: [bold]gemwright teach gemma-3-4b-pt texts/ --out store --samples 256[/bold]
    """
    options.use_threads(threads)
    _check(data or [], recipe, set or [], {"--row": row, "--held-out": held_out, "--field": field})
    tokenizer = _tokenizer(teacher)
    if recipe is not None:
        stream, chosen, needed, packing, draws = _of_recipe(recipe, set or [], out, tokenizer)
    else:
        draws, packing = None, 1 if seed is None else seed
        stream, chosen = _of_texts(data or [], out, tokenizer, row or _ROW, held_out or 0.0, field or _FIELD, packing)
        needed = stream.rows
    known = _load(teacher, tokenizer, chosen.row, quant, device)
    numbers = _numbers(draws, {"samples": samples, "seed": seed, "temperature": temperature})
    numbers |= {"row": chosen.row, "shard": shard}
    store, whole = _fill(known, stream, tokenizer, out, rows or needed, **numbers)
    _report(store, whole, chosen, packing, rows or needed, json)
    if not whole:
        raise typer.Exit(130)


def _check(data: list[str], recipe: str | None, settings: list[str], own: dict[str, Any]) -> None:
    """Raises `UserError` for words that contradict each other. `own`: options that texts alone take."""
    if bool(data) == (recipe is not None):
        raise UserError("a store is made of texts or of a recipe's run", hint="give files, or --recipe; one of the two")
    if recipe is not None and (given := [name for name, value in own.items() if value is not None]):
        raise UserError(f"{given[0]} is the recipe's to say", hint="change it by --set, as for the run itself")
    if recipe is None and settings:
        raise UserError("--set changes a recipe's run", hint=f"add --recipe, or take {', '.join(own)}")


def _tokenizer(teacher: str) -> Tokenizer:
    """The teacher's: a student that learns from it has the same."""
    from gemwright.loading import companions
    from gemwright.weights import hub

    found = companions(hub.resolve(teacher)).tokenizer
    if found is None:
        raise UserError(f"{teacher} comes without a tokenizer", hint="give its folder with its tokenizer files")
    return found


def _of_texts(
    sources: list[str], out: Path, tokenizer: Tokenizer, row: int, held_out: float, field: str, seed: int
) -> tuple[Rows, Data]:
    from gemwright.data.pack import Packer
    from gemwright.train.corpus import prepare
    from gemwright.train.run import Data

    if not 0 <= held_out < 1:
        raise UserError(f"--held-out cannot be {held_out}", hint="a share of the documents, from 0 to less than 1")
    data = Data(sources=tuple(sources), weights=(), epochs=None, field=field, bad="stop", held_out=held_out, row=row)
    with show.waiting("preparing the texts"):
        files, _ = prepare(data, tokenizer, out / "tokens", resume=True)
    return Packer(files[0], row=row, seed=seed), data


def _of_recipe(
    name: str, settings: list[str], out: Path, tokenizer: Tokenizer
) -> tuple[Rows, Data, int, int, Distill | None]:
    """The rows that a recipe's run reads, its data, how many rows its steps take, its seed, and how it distils."""
    from gemwright.train import corpus
    from gemwright.train.run import override

    module = train.recipe_module(name)
    planned = override(getattr(module, name)(out), settings)
    with show.waiting("preparing the texts"):
        files, _ = corpus.prepare(planned.data, tokenizer, out / "tokens", resume=True)
    needed = planned.steps * planned.rows
    return corpus.rows(planned, files), planned.data, needed, planned.seed, planned.distill


def _numbers(draws: Distill | None, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of the draws: as given, else as the run says, else as in the Gemma 3 report."""
    from gemwright.train.distill import REPORTED

    return {name: getattr(draws or REPORTED, name) if value is None else value for name, value in given.items()}


def _load(name: str, tokenizer: Tokenizer, row: int, quant: str | None, device: str) -> Teacher:
    from gemwright.loading import choose_device
    from gemwright.train.teacher import load_teacher

    with show.waiting(f"loading {name}"):
        return load_teacher(name, tokenizer, row=row, quant=quant, device=choose_device(device))


def _fill(
    teacher: Teacher, stream: Rows, tokenizer: Tokenizer, out: Path, rows: int, **numbers: Any
) -> tuple[Store, bool]:
    from gemwright.train.interrupt import Interrupt
    from gemwright.train.teach import teach

    with Interrupt() as interrupt, show.counting("teaching", rows) as shown:
        return teach(
            teacher,
            stream,
            out,
            tokenizer=tokenizer,
            rows=rows,
            progress=lambda done, _: shown(done),
            note=show.note,
            stop=lambda: bool(interrupt),
            device=str(teacher.model.device),
            **numbers,
        )


def _report(store: Store, whole: bool, data: Data, packing: int, rows: int, json: bool) -> None:
    facts, totals = store.facts, store.totals()
    fields = {"data.row": data.row, "data.held_out": data.held_out, "seed": packing, "distill.store": store.folder}
    fields |= {"distill.samples": facts.samples, "distill.seed": facts.seed, "distill.temperature": facts.temperature}
    settings = [f"{name}={value}" for name, value in fields.items()]
    if json:
        show.as_json({"folder": str(store.folder), "finished": whole, "wanted": rows, **totals, "settings": settings})
        return
    covered = f"{show.number(int(totals['rows']))} rows, {show.number(int(totals['tokens']))} tokens"
    show.note(
        f"{covered}: {show.size(totals['bytes'])}, {totals['bytes_per_token']:.0f} bytes for each token that is learnt,"
        f" {totals['bytes_per_sample']:.2f} for each draw"
    )
    if not whole:
        show.note(f"stopped before {show.number(rows)} rows; the same command goes on")
        return
    show.note(
        "it fits a run on the same texts with the teacher's tokenizer and "
        + " ".join(f"--set {shlex.quote(setting)}" for setting in settings)
    )
    print(store.folder)
