"""Every file of a checkpoint, read as far as it takes to know that it is whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import gemwright.arch.spec as arch
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.loading import Opened
    from gemwright.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class File:
    """One file: its size, and in words what was found good about it."""

    name: str
    bytes: int
    checked: str


@dataclass(frozen=True, kw_only=True)
class Files:
    """A checkpoint's files. `left`: tensors that the model does not use, by reason; `dtypes`: those of the weights, and
    of packed ones the forms; `packed`: how many of the model's tensors are held in each kind, where some are packed."""

    folder: Path
    files: tuple[File, ...]
    dtypes: tuple[str, ...]
    packed: dict[str, int]
    tokenizer: str | None
    left: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]


def examine(path: Path) -> tuple[arch.Model, Files]:
    """The model at a path and its files, all checked. Raises `UserError` naming the first that is damaged, missing or
    does not belong there."""
    from gemwright.weights import torch_ckpt
    from gemwright.weights.gguf.source import is_gguf

    if torch_ckpt.is_checkpoint(path):
        return _torch_file(path)
    return _gguf(path) if is_gguf(path) else _folder(path)


def _folder(path: Path) -> tuple[arch.Model, Files]:
    from gemwright.loading import open_checkpoint
    from gemwright.weights import hf_config
    from gemwright.weights.folder import INDEX

    spec, layout = hf_config.read(path)
    opened = open_checkpoint(path)
    left = _match(spec, opened.source, opened.names)
    packed = _packed(opened)
    files = [_seen(path / "config.json", "every key is known or carried")]
    if layout.index is not None:
        files.append(_seen(path / INDEX, f"names {len(layout.entries())} tensors in {len(layout.shards)} files"))
    for shard in layout.shards:
        files.append(_seen(path / shard.file, f"{len(shard.entries)} tensors, no gap, no overlap"))
    kept, tokenizer = _tokenizer(path)
    files += kept + _json_files(path, {file.name for file in [*files, *kept]})
    dtypes = sorted(packed or {str(entry.dtype).removeprefix("torch.") for entry in layout.entries()})
    return spec, Files(
        folder=path,
        files=tuple(files),
        dtypes=tuple(dtypes),
        packed=packed,
        tokenizer=tokenizer,
        left=left,
        notes=layout.notes,
    )


def _packed(opened: Opened) -> dict[str, int]:
    """How many of the model's tensors are held in each kind; nothing where all are plain floats."""
    from gemwright.weights.stream import PackedSource, is_packed

    source = opened.source
    used = [name for name in source.names() if opened.names.ours(name)]
    if not isinstance(source, PackedSource) or not any(is_packed(source, name) for name in used):
        return {}
    return dict(Counter(source.kind(name) for name in used).most_common())


def _torch_file(path: Path) -> tuple[arch.Model, Files]:
    from gemwright.weights.torch_ckpt import INDEX, TorchCheckpoint, weight_files

    source = TorchCheckpoint(path)
    left = _match(source.spec, source, source.table)
    folder = path if path.is_dir() else path.parent
    weights = [_seen(file, "a torch file of tensors alone") for file in weight_files(path)]
    if (path / INDEX).is_file():
        weights.insert(0, _seen(path / INDEX, f"every tensor that it names is in its {len(weights)} files"))
    kept, tokenizer = _tokenizer(folder)
    dtypes = sorted({str(source.dtype(name)).removeprefix("torch.") for name in source.names()})
    return source.spec, Files(
        folder=folder,
        files=(*weights, *kept),
        dtypes=tuple(dtypes),
        packed={},
        tokenizer=tokenizer,
        left=left,
        notes=(),
    )


def _gguf(path: Path) -> tuple[arch.Model, Files]:
    from gemwright.loading import companions, open_checkpoint, open_eyes, sight
    from gemwright.weights.gguf.source import GgufSource

    opened = open_checkpoint(path)
    source = opened.source
    assert isinstance(source, GgufSource)
    left = _match(opened.spec, source, opened.names)
    tokenizer = companions(path).tokenizer
    files = [_seen(file.path, f"{len(file.entries)} tensors, aligned, no overlap") for file in source.files]
    spec = replace(opened.spec, vision=sight(opened))
    if spec.vision is not None:
        eyes = open_eyes(path)
        files.append(_seen(eyes.source.path, f"the vision half, {len(eyes.source.names())} tensors"))
    return spec, Files(
        folder=path,
        files=tuple(files),
        dtypes=tuple(sorted({source.kind(name) for name in source.names() if opened.names.ours(name)})),
        packed=_packed(opened),
        tokenizer=_called(tokenizer) if tokenizer else None,
        left=left,
        notes=(),
    )


def _called(tokenizer: Tokenizer) -> str:
    turns = "turn marks" if tokenizer.supports_turns else "no turn marks"
    return f"{tokenizer.vocab_size:,} pieces, {turns}, {tokenizer.fingerprint()[:12]}"


def _match(spec: arch.Model, source, names) -> dict[str, tuple[str, ...]]:
    """Every tensor paired with a parameter of the same shape; what is left over."""
    import torch

    from gemwright.nn.decoder import Decoder
    from gemwright.weights.stream import match

    with torch.device("meta"):
        model = Decoder(spec)
    return match({name: tuple(parameter.shape) for name, parameter in model.named_parameters()}, source, names).left


def _tokenizer(folder: Path) -> tuple[list[File], str | None]:
    """The vocabulary in each form that is there; two forms must be one vocabulary."""
    from gemwright.text.tokenizer import FILES, Tokenizer

    files, prints = [], {}
    said = None
    for form, name in FILES.items():
        if not (folder / name).is_file():
            continue
        loaded = Tokenizer.load(folder, prefer=form)
        prints[name] = loaded.fingerprint()
        said = said or _called(loaded)
        files.append(_seen(folder / name, f"{loaded.vocab_size:,} pieces"))
    if len(set(prints.values())) > 1:
        raise UserError(f"{' and '.join(prints)} in {folder} are two vocabularies", hint="fetch the folder again")
    return files, said


def _json_files(folder: Path, done: set[str]) -> list[File]:
    """The other small files: settings are read by those who use them, the rest must at least be JSON."""
    from gemwright.text.template import template_text
    from gemwright.weights.fields import read_json
    from gemwright.weights.generation import read_generation
    from gemwright.weights.processor import PIXELS

    files = []
    for path in sorted(folder.glob("*.json")):
        if path.name in done:
            continue
        if path.name == "generation_config.json":
            stated = ", ".join(read_generation(folder)) or "nothing"
            files.append(_seen(path, f"states {stated}"))
        elif path.name == PIXELS:
            files.append(_seen(path, _pictures(folder)))
        else:
            read_json(path)
            files.append(_seen(path, "JSON"))
    if (path := folder / "chat_template.jinja").is_file():
        template_text(folder)
        files.append(_seen(path, "text"))
    return files


def _pictures(folder: Path) -> str:
    """What a folder says of pictures. A setting that is not run does not keep the text model from its work."""
    from gemwright.weights.processor import read_processor

    try:
        found = read_processor(folder)
    except UserError as error:
        return f"JSON; pictures cannot be shown to it: {error.message.partition(': ')[2] or error.message}"
    cut = "cut by pan and scan" if found.pan_scan else "whole"
    return f"pictures of {found.side} × {found.side} pixels, {cut}"


def _seen(path: Path, checked: str) -> File:
    return File(name=path.name, bytes=path.stat().st_size, checked=checked)
