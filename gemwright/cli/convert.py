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
    from gemwright.nn.gemma import Tower
    from gemwright.weights.gguf.tokenizer import Vocabulary
    from gemwright.weights.manifest import Manifest
    from gemwright.weights.vision import Eyes


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
    check: Annotated[
        bool, typer.Option("--check", help="Read the new folder again, and compare every tensor with the source's.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Write a checkpoint as a Hugging Face folder, or as a GGUF file.

    From a Hugging Face folder the same names, shards and config come out; with --dtype in another precision. The
    tokenizer's files come along. A .gguf file holds all of it; --type q4_0 packs the weights into 4.5 bits each. The
    vision half of a model is a GGUF file of its own, mmproj-NAME.gguf beside the other, read and written with it.

    Example: [bold]gemwright convert gemma-3-1b-it --out gemma.gguf --type q4_0[/bold]
    """
    if out.suffix == ".gguf":
        if dtype != "auto":
            raise UserError(f"--dtype {dtype} is for folders, and {out} is a GGUF file", hint="say --type f32 or bf16")
        if check:
            raise UserError(f"--check compares folders, and {out} is a GGUF file", hint="let --out be a folder")
        tree = to_file(source, out, type, table, preset, overwrite)
    else:
        if type is not None or table is not None:
            raise UserError(
                f"--type and --table are for GGUF files, and {out} is not called one", hint="let --out end in .gguf"
            )
        before = _manifest(source) if check else None  # first: what cannot be compared is refused before it is written
        tree = _to_folder(source, out, dtype, preset, overwrite)
        if before is not None:
            _check(tree, before, out)
    said = tree.pop("said")
    if json:
        show.as_json(tree)
    else:
        print(said)


def _to_folder(source: str, out: Path, dtype: str, preset: str | None, overwrite: bool) -> dict[str, Any]:
    from gemwright.loading import load_model
    from gemwright.weights.save import save

    with show.waiting(f"loading {source}"):
        loaded = load_model(source, dtype=dtype, device="cpu", preset=preset)
        tower = _tower(source, dtype, preset)
    with tempfile.TemporaryDirectory() as work:
        extras, documents = ([], {}) if loaded.layout else beside(loaded.folder, Path(work))
        for note in loaded.notes:
            show.note(note)
        with show.waiting(f"writing {out}"):
            out = save(
                loaded.model,
                out,
                tower=tower,
                layout=loaded.layout,
                dtype=None if dtype == "auto" else loaded.dtype,
                overwrite=overwrite,
                extras=extras,
                documents=documents,
            )
    if loaded.layout is None:  # with a layout they are copied along
        tell_left(loaded.left)
    count = sum(parameter.numel() for parameter in loaded.model.parameters())
    eyes = sum(parameter.numel() for parameter in tower.parameters()) if tower else 0
    return {
        "folder": str(out),
        "parameters": count,
        "left": {reason: list(names) for reason, names in loaded.left.items()},
        "said": f"{out}: {show.number(count)} parameters of {loaded.spec.name}"
        + (f", and {show.number(eyes)} of its vision half" if eyes else ""),
    }


def _tower(source: str, dtype: str, preset: str | None) -> Tower | None:
    """The vision half, where it has to be written anew: from a GGUF file beside the text, or in another dtype. That of
    a folder is otherwise copied."""
    from gemwright.loading import load_tower, open_checkpoint
    from gemwright.weights import hub

    opened = open_checkpoint(hub.resolve(source), preset)
    copied = opened.layout is not None and dtype == "auto"
    if copied or vision_half(opened) is None:
        return None
    notes: list[str] = []
    tower = load_tower(opened.folder, dtype=dtype, device="cpu", notes=notes)
    for note in notes:
        show.note(note)
    return tower


def vision_half(opened: Opened) -> Eyes | None:
    """The vision half of a folder, or beside a GGUF file; one that cannot be read stays behind with a note."""
    from gemwright.loading import open_eyes
    from gemwright.weights.gguf.source import GgufSource, projectors
    from gemwright.weights.torch_ckpt import TorchCheckpoint

    if isinstance(opened.source, GgufSource):
        there = bool(projectors(opened.folder))
    else:
        there = opened.spec.vision is not None and not isinstance(opened.source, TorchCheckpoint)
    if not there:
        return None
    try:
        return open_eyes(opened.folder)
    except UserError as error:
        show.note(f"no vision half is converted: {error}")
        return None


def _manifest(source: str) -> Manifest:
    from gemwright.loading import open_checkpoint
    from gemwright.weights import hub
    from gemwright.weights.manifest import manifest

    path = hub.resolve(source)
    if open_checkpoint(path).layout is None:
        raise UserError(
            f"--check compares folders that have the same names, and {source} is in another format",
            hint="leave it out: what is not written is told",
        )
    with show.waiting(f"reading {source}"):
        return manifest(path)


def _check(tree: dict[str, Any], before: Manifest, out: Path) -> None:
    """Compare the folder that was written with the manifest of its source; in another dtype, names and shapes."""
    from gemwright.weights.manifest import compare, manifest

    with show.waiting(f"reading {out}"):
        after = manifest(Path(tree["folder"]))
    found = compare(before, after)
    reshaped = [name for name in found.recast if before[name].shape != after[name].shape]
    if wrong := [*found.lost, *found.added, *found.changed, *reshaped]:
        raise UserError(
            f"{len(wrong)} tensors of {out} are not those of its source: {', '.join(wrong[:4])}",
            hint="was one of the two changed meanwhile? write it again",
        )
    equal = len(before) - len(found.recast)
    tree["check"] = {"tensors": len(before), "equal": equal, "recast": len(found.recast)}
    others = f", {len(found.recast)} in another dtype" if found.recast else ""
    tree["said"] += f"\nchecked: {len(before)} tensors, none lost, none added; {equal} equal to the byte{others}"


def beside(source: Path, work: Path) -> tuple[list[Path], dict[str, dict[str, Any]]]:
    """Files to copy and files to write that no layout brings along, from a folder or a GGUF file; `work` is a folder
    for those in between."""
    from gemwright.weights import side_files
    from gemwright.weights.gguf.source import GgufSource, is_gguf

    return side_files.unpacked(GgufSource(source).header, work) if is_gguf(source) else side_files.beside(source)


def to_file(
    source: str, out: Path, type: str | None, table: str | None, preset: str | None, overwrite: bool
) -> dict[str, Any]:
    """Write a GGUF file, and beside it that of the vision half where there is one; what there is to say of them, for
    `--json` and, as "said", for people."""
    import torch

    from gemwright.loading import companions, open_checkpoint
    from gemwright.weights import hub
    from gemwright.weights.gguf.emit import target
    from gemwright.weights.gguf.mmproj import TYPES, projector_name, write_projector
    from gemwright.weights.gguf.write import write_gguf
    from gemwright.weights.vision import behind

    opened = open_checkpoint(hub.resolve(source), preset)
    vocabulary, eyes = _vocabulary(opened), vision_half(opened)
    beside = target(projector_name(out), overwrite) if eyes else None  # refused before anything is written
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
        if eyes and beside:
            write_projector(
                beside,
                eyes,
                name=opened.spec.name,
                type=linear if linear in TYPES else "bf16",  # few bits would cost more here than they save
                overwrite=overwrite,
            )
            left = behind(left, eyes)
    tell_left(left)
    if vocabulary and (spare := opened.spec.vocab - len(vocabulary.pieces)) > 0:
        show.note(f"{spare} rows of the table are left out: no piece has them")
    size = out.expanduser().stat().st_size
    return {
        "file": str(out),
        "bytes": size,
        "type": linear,
        "vision": str(beside) if beside else None,
        "left": {reason: list(names) for reason, names in left.items()},
        "said": f"{out}: {opened.spec.name} as {linear}, {show.size(size)}"
        + (f"\n{beside}: its vision half, {show.size(beside.stat().st_size)}" if beside else ""),
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
