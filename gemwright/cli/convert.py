"""`gemwright convert`: any checkpoint that can be read → a Hugging Face folder, or a GGUF file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemwright.cli import options, show
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.loading import Opened
    from gemwright.weights.gguf.tokenizer import Vocabulary


def run(
    source: Annotated[str, typer.Argument(help="A folder, a .gguf or .ckpt file, or a name.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write, or a file that ends in .gguf.", show_default=False)],
    dtype: Annotated[str, typer.Option(help="Of a folder: auto (the file's own), bfloat16 or float32.")] = "auto",
    type: Annotated[
        str | None,
        typer.Option(
            help="Of a .gguf file: f32, f16, bf16, q8_0 or q4_0.", show_default="f32 or bf16, as it is stored"
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(help="The same for the embedding table alone.", show_default="q8_0 beside q4_0, else as the rest"),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="The model that a .ckpt file holds.", show_default="found by its shapes")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that is there.")] = False,
    json: options.Json = False,
) -> None:
    """Write a checkpoint as a Hugging Face folder, or as a GGUF file.

    From a Hugging Face folder the same names, shards and config come out; with --dtype in another precision. The
    tokenizer's files come along. A .gguf file holds all of it; --type q4_0 packs the weights into 4.5 bits each.

    Example: [bold]gemwright convert gemma-3-1b-it --out gemma.gguf --type q4_0[/bold]
    """
    if out.suffix == ".gguf":
        if dtype != "auto":
            raise UserError(f"--dtype {dtype} is for folders, and {out} is a GGUF file", hint="say --type f32 or bf16")
        tree = to_file(source, out, type, table, preset, overwrite)
    else:
        if type is not None or table is not None:
            raise UserError(
                f"--type and --table are for GGUF files, and {out} is not called one", hint="let --out end in .gguf"
            )
        tree = _to_folder(source, out, dtype, preset, overwrite)
    said = tree.pop("said")
    if json:
        show.as_json(tree)
    else:
        print(said)


def _to_folder(source: str, out: Path, dtype: str, preset: str | None, overwrite: bool) -> dict[str, Any]:
    import torch

    from gemwright.loading import load_model
    from gemwright.weights.save import save

    with show.waiting(f"loading {source}"):
        loaded = load_model(source, dtype=dtype, device="cpu", preset=preset)
    kept: torch.dtype | None = None if dtype == "auto" and loaded.layout is not None else loaded.dtype
    with tempfile.TemporaryDirectory() as work:
        extras, documents = ([], {}) if loaded.layout else beside(loaded.folder, Path(work))
        for note in loaded.notes:
            show.note(note)
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
        tell_left(loaded.left)
    count = sum(parameter.numel() for parameter in loaded.model.parameters())
    return {
        "folder": str(out),
        "parameters": count,
        "left": {reason: list(names) for reason, names in loaded.left.items()},
        "said": f"{out}: {show.number(count)} parameters of {loaded.spec.name}",
    }


def beside(source: Path, work: Path) -> tuple[list[Path], dict[str, dict[str, Any]]]:
    """Files to copy and files to write that no layout brings along, from a folder or a GGUF file; `work` is a folder
    for those in between."""
    from gemwright.weights import side_files
    from gemwright.weights.gguf.source import GgufSource, is_gguf

    return side_files.unpacked(GgufSource(source).header, work) if is_gguf(source) else side_files.beside(source)


def to_file(
    source: str, out: Path, type: str | None, table: str | None, preset: str | None, overwrite: bool
) -> dict[str, Any]:
    """Write a GGUF file; what there is to say of it, for `--json` and, as "said", for people."""
    import torch

    from gemwright.loading import companions, open_checkpoint
    from gemwright.weights import hub
    from gemwright.weights.gguf.write import write_gguf

    opened = open_checkpoint(hub.resolve(source), preset)
    vocabulary = _vocabulary(opened)
    linear = type or ("f32" if opened.stored == torch.float32 else "bf16")
    with show.waiting(f"writing {out}"):
        left = write_gguf(
            out,
            opened.spec,
            opened.source,
            opened.names,
            vocabulary=vocabulary,
            generation=companions(opened.folder).generation,
            linear=linear,
            table=table,
            overwrite=overwrite,
        )
    tell_left(left)
    if vocabulary and (spare := opened.spec.vocab - len(vocabulary.pieces)) > 0:
        show.note(f"{spare} rows of the table are left out: no piece has them")
    size = out.expanduser().stat().st_size
    return {
        "file": str(out),
        "bytes": size,
        "type": linear,
        "left": {reason: list(names) for reason, names in left.items()},
        "said": f"{out}: {opened.spec.name} as {linear}, {show.size(size)}",
    }


def _vocabulary(opened: Opened) -> Vocabulary | None:
    from gemwright.weights.gguf.source import GgufSource
    from gemwright.weights.gguf.tokenizer import read_vocabulary, vocabulary_of

    if isinstance(opened.source, GgufSource):
        return read_vocabulary(opened.source.header)
    return vocabulary_of(opened.folder)


def tell_left(left: dict[str, tuple[str, ...]]) -> None:
    """A note for each reason why tensors were not written."""
    for reason, names in left.items():
        show.note(f"{len(names)} tensors are left out: {reason}")
