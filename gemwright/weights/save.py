"""A model in memory → a Hugging Face folder, tensor by tensor.

With the layout that its folder was read with, the same names, dtypes, bytes, shards and config come out; what the
model left in the file (a vision half whose tower is not given, say) is copied from there byte for byte, and so is a
tensor that loading rounded and nobody has changed since.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from gemwright.arch.spec import Model
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.paths import probe
from gemwright.weights import processor
from gemwright.weights.fields import list_folder, shorten
from gemwright.weights.folder import INDEX, SINGLE, Folder
from gemwright.weights.hf_write import write
from gemwright.weights.layout import Layout, Shard
from gemwright.weights.names import HEADS, Names, table
from gemwright.weights.safetensors import CODES, DTYPES, Entry, header_bytes
from gemwright.weights.side_files import picture_marks
from gemwright.weights.stream import CHUNK, FLOATS, blocks, is_rounded
from gemwright.weights.vision_names import RELEASED, VisionNames, find_vision, vision_table

SHARD_BYTES = 5_000_000_000


@dataclass(frozen=True, kw_only=True)
class _Item:
    """A tensor to write: a parameter of the model, or (None) the bytes of the source folder.

    `rounded`: the source's dtype is wider than the parameter's, so its bytes are copied if they still say the same.
    """

    name: str
    code: str
    shape: tuple[int, ...]
    parameter: nn.Parameter | None
    rounded: bool = False

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * DTYPES[self.code].itemsize


@dataclass(frozen=True, kw_only=True)
class _File:
    name: str
    metadata: Mapping[str, str]
    items: tuple[_Item, ...]


def save(
    model: Decoder,
    folder: Path,
    *,
    tower: Tower | None = None,
    layout: Layout | None = None,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
    max_shard_bytes: int = SHARD_BYTES,
    extras: Iterable[Path] = (),
    documents: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write a model, and the tower that it sees through, as a Hugging Face folder, whole or not at all.

    `dtype` is that of the parameters in the file (None: the layout's, or the model's own). With a layout the tower's
    tensors go where the layout has them, and its other files (tokenizer, generation config) come along; without one,
    a folder with a tower has the names of the files as first released, and says how pictures become pixels. `extras`
    are further files to copy (of a vocabulary among them the config states the ids of a picture's marks), `documents`
    further JSON files by name. A folder that exists and is not empty is refused
    unless `overwrite`, which replaces checkpoints only.
    Raises `UserError` when the disk is full or the layout's source has changed, `ValueError` when the layout is another
    model's, when the tower is, or when matrices were packed.
    """
    if dtype is not None and dtype not in FLOATS:
        raise ValueError(f"weights are floats, not {dtype}")
    folder, extras = probe(folder), list(extras)
    parameters = _parameters(model, tower)
    spec = replace(model.spec, vision=tower.spec if tower else None)  # a decoder holds the text half only
    if layout is None:
        names = _fresh_names(spec)
        marks = picture_marks(extras) if spec.vision else None
        config = write(spec, None, dtype or parameters["embed.weight"].dtype, marks=marks)
        files = _fresh_files(parameters, names, dtype, max_shard_bytes)
        source, others = None, []
        documents = (processor.documents(spec.vision) if spec.vision else {}) | dict(documents or {})
    else:
        names = _remembered_names(spec, layout)
        config = write(model.spec if tower is None else spec, layout, dtype, eyes=tower is not None)
        files = [_remembered_file(shard, parameters, names, dtype) for shard in layout.shards]
        _check_complete(files, parameters)
        source = _source(layout, files)
        others = [layout.folder / name for name in layout.others]
    with Replacing(folder, overwrite) as partial:
        for file in files:
            with (partial / file.name).open("wb") as out:
                _write_file(out, file, source)
        if layout.index is not None if layout else len(files) > 1:
            write_json(partial / INDEX, _index(files, layout, dtype))
        write_json(partial / "config.json", config, ordered=layout is None)
        for path in (*others, *extras):
            shutil.copyfile(path, partial / path.name)
        for name, tree in (documents or {}).items():
            write_json(partial / name, dict(tree), ordered=False)
    return folder


def _parameters(model: Decoder, tower: Tower | None) -> dict[str, nn.Parameter]:
    """Every parameter that models of these specs have; one that was swapped to other forms has fewer, and would be
    written with holes."""
    with torch.device("meta"):
        pairs: list[tuple[nn.Module, nn.Module]] = [(model, Decoder(model.spec))]
        if tower is not None:
            pairs.append((tower, Tower(tower.spec, model.spec.width)))
    parameters: dict[str, nn.Parameter] = {}
    for held, whole in pairs:
        found = dict(held.named_parameters())
        if missing := sorted(dict(whole.named_parameters()).keys() - found.keys()):
            raise ValueError(
                f"{len(missing)} parameters of this model were swapped for another form ({missing[0]}, …): "
                "save the plain one that loading.load_model gives"
            )
        parameters |= found
    if tower is not None and (width := tower.projector.weight.shape[1]) != model.spec.width:
        raise ValueError(f"the tower leads to a decoder of width {width}, and this one has {model.spec.width}")
    return parameters


@dataclass(frozen=True, kw_only=True)
class _WholeNames:
    """The names of both halves in a file; `eyes` is None where no tower is written."""

    text: Names
    eyes: VisionNames | None

    def ours(self, name: str) -> str | None:
        if name in HEADS:
            return "embed.weight"
        return self.text.ours(name) or (self.eyes.ours(name) if self.eyes else None)

    def theirs(self, name: str) -> str:
        in_tower = self.eyes is not None and name.startswith(("encoder.", "projector."))
        return self.eyes.theirs(name) if self.eyes and in_tower else self.text.theirs(name)


def _fresh_names(spec: Model) -> _WholeNames:
    if spec.vision is None:
        return _WholeNames(text=table(spec.family, "model."), eyes=None)
    return _WholeNames(text=table(spec.family, "language_model.model."), eyes=vision_table(*RELEASED))


def _remembered_names(spec: Model, layout: Layout) -> _WholeNames:
    text = table(spec.family, layout.prefix)
    if spec.vision is None:
        return _WholeNames(text=text, eyes=None)
    eyes = find_vision([entry.name for entry in layout.entries()])
    if eyes is None:
        raise ValueError(f"the layout of {layout.folder} has no vision half, and a tower is to be written")
    return _WholeNames(text=text, eyes=eyes)


def _fresh_files(
    parameters: dict[str, nn.Parameter], names: _WholeNames, dtype: torch.dtype | None, limit: int
) -> list[_File]:
    groups: list[list[_Item]] = [[]]
    held = 0
    for ours, parameter in parameters.items():
        code = CODES[dtype or parameter.dtype]
        item = _Item(name=names.theirs(ours), code=code, shape=tuple(parameter.shape), parameter=parameter)
        if groups[-1] and held + item.bytes > limit:
            groups.append([])
            held = 0
        groups[-1].append(item)
        held += item.bytes
    count = len(groups)
    return [
        _File(
            name=SINGLE if count == 1 else f"model-{index + 1:05d}-of-{count:05d}.safetensors",
            metadata={"format": "pt"},
            # wide elements first, then by name: every tensor is aligned, and the order is the reference writer's
            items=tuple(sorted(group, key=lambda item: (-DTYPES[item.code].itemsize, item.name))),
        )
        for index, group in enumerate(groups)
    ]


def _remembered_file(
    shard: Shard, parameters: dict[str, nn.Parameter], names: _WholeNames, dtype: torch.dtype | None
) -> _File:
    def item(entry: Entry) -> _Item:
        ours = names.ours(entry.name)
        parameter = parameters.get(ours) if ours else None
        if parameter is not None and tuple(parameter.shape) != entry.shape:
            raise ValueError(f"{entry.name} is {entry.shape} in the layout and {tuple(parameter.shape)} in the model")
        if parameter is None or dtype is None:
            rounded = parameter is not None and is_rounded(entry.dtype, parameter.dtype)
            return _Item(name=entry.name, code=entry.code, shape=entry.shape, parameter=parameter, rounded=rounded)
        return _Item(name=entry.name, code=CODES[dtype], shape=entry.shape, parameter=parameter)

    return _File(name=shard.file, metadata=shard.metadata, items=tuple(item(entry) for entry in shard.entries))


def _check_complete(files: list[_File], parameters: dict[str, nn.Parameter]) -> None:
    written = {id(item.parameter) for file in files for item in file.items}
    homeless = [name for name, parameter in parameters.items() if id(parameter) not in written]
    if homeless:
        raise ValueError(f"the layout has no name for {', '.join(homeless[:4])}")


def _source(layout: Layout, files: list[_File]) -> Folder | None:
    """The folder that the model came from, opened when some of its tensors are needed, and still what it was."""
    copied = [item for file in files for item in file.items if item.parameter is None or item.rounded]
    if not copied:
        return None
    source = Folder(layout.folder)
    present = set(source.names())
    for item in copied:
        entry = source.entry(item.name) if item.name in present else None
        if entry is None or (entry.code, entry.shape) != (item.code, item.shape):
            raise UserError(
                f"{layout.folder} has changed since it was read: {shorten(item.name)} is not what it was",
                hint="an export copies from there what the model does not use or had to round; load the folder again",
            )
    return source


def _rows(shape: tuple[int, ...], itemsize: int) -> Iterator[tuple[int, int]]:
    yield from blocks(shape[0] if shape else 1, math.prod(shape[1:]) * itemsize, CHUNK)


def _is_unchanged(item: _Item, parameter: nn.Parameter, source: Folder) -> bool:
    """Whether a parameter is what the source's tensor becomes in the parameter's dtype."""
    values = parameter.detach()
    for start, stop in _rows(item.shape, max(4, DTYPES[item.code].itemsize)):
        held = (values[start:stop] if item.shape else values).cpu()
        stored = source.view(item.name, start, stop).to(held.dtype)
        source.release(item.name, start, stop)
        # The bits of a rounded NaN depend on the route that it took.
        if not bool(((stored == held) | (stored.isnan() & held.isnan())).all()):
            return False
    return True


def _write_file(out: BinaryIO, file: _File, source: Folder | None) -> None:
    out.write(header_bytes(((item.name, item.code, item.shape) for item in file.items), file.metadata))
    for item in file.items:
        dtype, parameter = DTYPES[item.code], item.parameter
        if parameter is not None and item.rounded and source is not None and _is_unchanged(item, parameter, source):
            parameter = None
        for start, stop in _rows(item.shape, max(4, dtype.itemsize)):
            if parameter is None:
                assert source is not None
                rows = source.view(item.name, start, stop)
            else:
                values = parameter.detach()
                rows = (values[start:stop] if item.shape else values).to("cpu", dtype)
            out.write(rows.contiguous().flatten().view(torch.uint8).numpy().data)
            if parameter is None and source is not None:
                source.release(item.name, start, stop)
    out.flush()
    os.fsync(out.fileno())


def _index(files: list[_File], layout: Layout | None, dtype: torch.dtype | None) -> dict[str, Any]:
    metadata = dict(layout.index or {}) if layout else {}
    if layout is None or dtype is not None:
        metadata["total_size"] = sum(item.bytes for file in files for item in file.items)
    return {"metadata": metadata, "weight_map": {item.name: file.name for file in files for item in file.items}}


def write_json(path: Path, tree: dict[str, Any], *, ordered: bool = True) -> None:
    """A JSON file as these folders have them; `ordered`: by key."""
    path.write_text(json.dumps(tree, indent=2, sort_keys=ordered) + "\n", encoding="utf-8")


class Replacing:
    """A folder that appears when the block ends well: its files are written beside it, in the folder that the block
    is given. Raises `UserError` for a folder that is not to be replaced, and when the disk is full."""

    def __init__(self, folder: Path, overwrite: bool) -> None:
        self.folder = folder.resolve()
        self.partial = self.folder.with_name(f".{self.folder.name}.partial-{os.getpid()}")
        _check_target(self.folder, overwrite)

    def __enter__(self) -> Path:
        try:
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)
        except OSError as error:
            raise self._failed(error) from error
        return self.partial

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            try:
                self._swap()
            except OSError as failure:
                shutil.rmtree(self.partial, ignore_errors=True)
                raise self._failed(failure) from failure
            return
        shutil.rmtree(self.partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise self._failed(error) from error

    def _swap(self) -> None:
        old = self.folder.with_name(f".{self.folder.name}.old-{os.getpid()}")
        if self.folder.exists():
            os.replace(self.folder, old)
        try:
            os.replace(self.partial, self.folder)
        except OSError:
            if old.exists():
                os.replace(old, self.folder)
            raise
        shutil.rmtree(old, ignore_errors=True)

    def _failed(self, error: OSError) -> UserError:
        reason = f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")
        return UserError(f"{self.folder} cannot be written: {reason}", hint="check the path and the free space")


def _check_target(folder: Path, overwrite: bool) -> None:
    """Refuse what an overwriting save could destroy by accident."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file", hint="give the name of a folder")
    present = list_folder(folder) if folder.exists() else []
    if not present:
        return
    if not overwrite:
        raise UserError(f"{folder} is not empty", hint="give another folder, or ask to overwrite it")
    if not (folder / "config.json").exists() or any(item.is_dir() for item in present):
        raise UserError(f"{folder} is not a checkpoint folder alone", hint="it is left as it is; give another folder")
