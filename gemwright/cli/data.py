"""`gemwright data`: look through training texts, and filter them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

import typer

from gemwright.cli import findings, options, show
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.data.decontaminate import Evaluations
    from gemwright.data.filters import Dropped, Entry, Filters, Policy
    from gemwright.data.report import Report
    from gemwright.text.tokenizer import Tokenizer

app = typer.Typer(no_args_is_help=True, help="Look through training texts, or filter them.")

Sources = Annotated[
    list[str],
    typer.Argument(help="Text, .jsonl or .parquet files, folders of them, or python.", show_default=False),
]
Field = Annotated[str, typer.Option(help="The field of a record that holds its text.")]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Count broken records and go on.")]
Against = Annotated[
    list[str] | None,
    typer.Option(help="Evaluation texts that no text may share; may be given again.", show_default=False),
]
AgainstField = Annotated[str | None, typer.Option(help="The field of an evaluation record.", show_default="as --field")]
Ngram = Annotated[int, typer.Option(min=5, help="Words in a row that a text may not share with an evaluation.")]
Near = Annotated[
    float, typer.Option(min=0, max=1, help="Jaccard similarity that makes near duplicates; 0: do not look.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the signatures that find near duplicates.")]


@app.command(no_args_is_help=True)
def check(
    sources: Sources,
    field: Field = "text",
    skip_broken: SkipBroken = False,
    against: Against = None,
    against_field: AgainstField = None,
    ngram: Ngram = 13,
    near: Near = 0.8,
    seed: Seed = 1,
    tokenizer: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Count tokens as this model does.", show_default=False)
    ] = None,
    json: options.Json = False,
) -> None:
    """Count what texts hold and what a filter would drop; nothing is written.

    Findings are no failure: the exit code is 0. Personal data is counted and does not hide other findings.

    Example: [bold]gemwright data check texts chats.jsonl --against questions.jsonl[/bold]
    """
    counted = findings.Counts(_tokenizer(tokenizer), lambda: _soft(tokenizer))
    filters = _filters("keep", near, _evaluations(against, against_field or field, ngram), seed)
    read, stream = _read(sources, field, skip_broken, None)
    with findings.Progress(filters) as progress:
        for _ in filters.kept(counted.passed(progress.passed(stream))):
            pass
    if json:
        show.as_json({**counted.to_json(), **findings.tree(read, filters)})
    else:
        counted.print(read)
        findings.print_findings(read, filters)


@app.command(no_args_is_help=True)
def filter(
    sources: Sources,
    out: Annotated[Path, typer.Option(help="File to write, its name ends in .jsonl.", show_default=False)],
    field: Field = "text",
    skip_broken: SkipBroken = False,
    against: Against = None,
    against_field: AgainstField = None,
    ngram: Ngram = 13,
    near: Near = 0.8,
    seed: Seed = 1,
    personal: Annotated[
        Literal["drop", "mask", "keep"],
        typer.Option(help="What becomes of personal data: drop the text, mask it, or keep it."),
    ] = "mask",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    json: options.Json = False,
) -> None:
    """Write the texts without duplicates, evaluation texts and personal data.

    Beside FILE.jsonl come FILE.report.json, what was dropped and why, and FILE.dropped.jsonl with every name.

    Example: [bold]gemwright data filter texts --against questions.jsonl --out clean.jsonl[/bold]
    """
    from gemwright.data.jsonl import line, record, whole

    paths = _paths(out, overwrite, [*sources, *(against or [])])
    filters = _filters(personal, near, _evaluations(against, against_field or field, ngram), seed)
    settings = {"sources": sources, "field": field, "skip_broken": skip_broken, "personal": personal}
    settings |= {"against": against or [], "against_field": against_field or field, "ngram": ngram}
    settings |= {"near": near, "seed": seed}
    with whole(paths) as (texts, dropped, summary), findings.Progress(filters) as progress:
        listed = _listed(dropped)
        read, stream = _read(sources, field, skip_broken, listed)
        for entry in filters.kept(progress.passed(stream), listed):
            texts.write(line(record(entry)))
        facts = {"settings": settings, **findings.tree(read, filters)}
        summary.write(_pretty(facts))
    if json:
        show.as_json({"files": [str(path) for path in paths], **facts})
        return
    findings.print_findings(read, filters)
    kept = filters.report.documents + filters.report.conversations
    total = kept + sum(filters.report.dropped.values()) + sum(read.dropped.values())
    size = show.size(filters.report.bytes)
    print(f"{out}: kept {show.number(kept)} of {show.number(total)} texts, {size}")
    show.note(f"what was dropped and why: {paths[1]}, {paths[2]}")


# ----------------------------------------------------------------------------------------------------------------------
# What comes in


def _read(
    sources: list[str], field: str, skip: bool, listed: Callable[[Dropped], None] | None
) -> tuple[Report, Iterator[Entry]]:
    """The report of a reading and what is read; `listed` is told of what the reading drops."""
    from gemwright.data.documents import read
    from gemwright.data.filters import Dropped
    from gemwright.data.records import Malformed
    from gemwright.data.report import Report

    class Listed(Report):
        def drop(self, reason: str, name: str) -> None:
            super().drop(reason, name)
            if listed is not None:
                listed(Dropped(name=name, reason=reason))

    report = Listed()

    def stream() -> Iterator[Entry]:
        try:
            yield from read(sources, field=field, bad="skip" if skip else "stop", report=report)
        except UserError as error:
            if not isinstance(error.__cause__, Malformed):
                raise
            raise UserError(error.message, hint=f"{error.hint}; or pass over it with --skip-broken") from error

    return report, stream()


def _evaluations(against: list[str] | None, field: str, ngram: int) -> Evaluations | None:
    if not against:
        return None
    from gemwright.data.decontaminate import SHORTEST, Evaluations
    from gemwright.data.documents import read

    with show.waiting("reading the evaluation texts"):
        found = Evaluations(read(against, field=field), size=ngram)
    if not found.items:
        raise UserError("the evaluation texts are empty", hint="check the files given with --against")
    if found.short:
        show.note(
            f"evaluation texts with a part of fewer than {SHORTEST} words: {found.short} of {found.items}; such a part "
            "is met only by a text of the same words"
        )
    return found


def _filters(policy: Policy, near: float, evaluations: Evaluations | None, seed: int) -> Filters:
    from gemwright.data.filters import Filters

    return Filters(policy=policy, near=near, evaluations=evaluations, seed=seed)


def _tokenizer(model: str | None) -> Tokenizer | None:
    if model is None:
        return None
    from gemwright.text.tokenizer import Tokenizer
    from gemwright.weights import hub

    return Tokenizer.load(hub.resolve(model))


@cache
def _soft(model: str | None) -> int:
    """Tokens that a picture takes in a model; where it is only a tokenizer, or sees nothing, in the published ones."""
    from gemwright.arch.gemma3 import SIGLIP
    from gemwright.loading import open_checkpoint, sight
    from gemwright.weights import hub

    try:
        vision = sight(open_checkpoint(hub.resolve(model)))
    except UserError:  # a vocabulary alone is enough to count by
        vision = None
    return (vision or SIGLIP).tokens


# ----------------------------------------------------------------------------------------------------------------------
# What goes out


def _paths(out: Path, overwrite: bool, sources: list[str]) -> list[Path]:
    """FILE.jsonl, FILE.dropped.jsonl and FILE.report.json. Raises `UserError` where they would replace what is there,
    or be read as texts the next time."""
    from gemwright.paths import probe

    out = probe(out)
    if out.suffix.lower() != ".jsonl":
        raise UserError(f"{out} is to hold JSON Lines and is not called so", hint="let --out end in .jsonl")
    if out.is_dir():
        raise UserError(f"{out} is a folder", hint="give --out a file that ends in .jsonl")
    paths = [out, out.with_suffix(".dropped.jsonl"), out.with_suffix(".report.json")]
    for source in map(probe, sources):
        for path in paths:
            if source.exists() and path.resolve().is_relative_to(source.resolve()):
                raise UserError(f"{path} is among the texts that are read from {source}", hint="write somewhere else")
    if not overwrite and (there := [path for path in paths if path.exists()]):
        raise UserError(f"{there[0]} is there already", hint="choose another name, or --overwrite")
    return paths


def _listed(file: BinaryIO) -> Callable[[Dropped], None]:
    """Writes a line for each text that is dropped."""
    from gemwright.data.jsonl import line

    def write(one: Dropped) -> None:
        file.write(line({"name": one.name, "reason": one.reason} | ({"like": one.like} if one.like else {})))

    return write


def _pretty(facts: dict[str, Any]) -> bytes:
    import json

    return json.dumps(facts, indent=1).encode() + b"\n"
