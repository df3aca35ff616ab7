"""Any open checkpoint → a quantised folder, block of rows by block of rows; nothing is loaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from gemwright.arch.spec import Model
from gemwright.nn.decoder import Decoder
from gemwright.ops.matmul import Form, encode
from gemwright.paths import probe
from gemwright.weights import processor
from gemwright.weights.folder import SINGLE
from gemwright.weights.hf_write import write
from gemwright.weights.names import Names, table
from gemwright.weights.quantised import SCALES, config_of, is_scaled, pack_nibbles, stored_bytes
from gemwright.weights.safetensors import CODES, DTYPES, header_bytes
from gemwright.weights.save import Replacing, write_json
from gemwright.weights.side_files import picture_marks
from gemwright.weights.stream import ROUNDED, PackedSource, Source, blocks, match
from gemwright.weights.vision import Eyes, behind
from gemwright.weights.vision_names import RELEASED, vision_table


@dataclass(frozen=True, kw_only=True)
class _Item:
    """A parameter to write: its name in the source and here, its shape, its form (None: plain, in `dtype`)."""

    source: str
    name: str
    shape: tuple[int, ...]
    form: Form | None
    dtype: torch.dtype = torch.bfloat16

    def entries(self) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        """The tensors that it makes: name, the format's word for the dtype, shape."""
        if self.form is None:
            yield self.name, CODES[self.dtype], self.shape
            return
        yield self.name, "U8", (self.shape[0], stored_bytes(self.form, self.shape[1]))
        if is_scaled(self.form):
            yield self.name + SCALES, "F32", self.shape[:1]


def save_quantised(
    folder: Path,
    spec: Model,
    source: Source,
    names: Names,
    *,
    scheme: str,
    forms: Mapping[str, Form],
    eyes: Eyes | None = None,
    overwrite: bool = False,
    extras: Iterable[Path] = (),
    documents: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Write a quantised folder, whole or not at all.

    `forms`: of the model's parameters, by the model's names; what has none, or bfloat16, is written as plain bfloat16,
    and without any other form the folder is an ordinary one. `eyes`: the vision half that goes along, as it is stored,
    with the settings of its pictures. `extras` are files to copy, `documents` JSON files to write, by name. Returns
    what stays in the source, by reason. Raises `UserError` for tensors that are missing or unknown, for a full disk,
    and for a folder that is not empty (unless `overwrite`).
    """
    with torch.device("meta"):
        parameters = {name: tuple(parameter.shape) for name, parameter in Decoder(spec).named_parameters()}
    left = match(parameters, source, names).left
    theirs = table(spec.family, "language_model.model." if eyes else "model.")
    items = []
    for ours, shape in parameters.items():
        form = forms.get(ours)
        form = None if form == "bf16" else form
        items.append(_Item(source=names.theirs(ours), name=theirs.theirs(ours), shape=shape, form=form))
    packed = {item.name: item.form for item in items if item.form is not None}
    spec = replace(spec, vision=eyes.vision if eyes else None)
    extras = list(extras)
    marks = picture_marks(extras) if eyes else None
    config = write(spec, None, torch.bfloat16, marks=marks) | (config_of(scheme, packed) if packed else {})
    plain = []
    if eyes is not None:
        plain, left = _plain_items(eyes), behind(left, eyes)
        documents = processor.documents(eyes.vision) | dict(documents or {})
    with Replacing(probe(folder), overwrite) as partial:
        with (partial / SINGLE).open("wb") as out:
            _write(out, [(item, source) for item in items] + [(item, eyes.source) for item in plain if eyes])
        write_json(partial / "config.json", config, ordered=False)
        for name, tree in (documents or {}).items():
            write_json(partial / name, dict(tree), ordered=False)
        for path in extras:  # last: what a folder says itself counts
            shutil.copyfile(path, partial / path.name)
    return left


def _plain_items(eyes: Eyes) -> list[_Item]:
    """The tensors of a vision half, as they are stored, under the released names."""
    theirs, items = vision_table(*RELEASED), []
    for ours, parameter in eyes.empty().named_parameters():
        source = eyes.names.theirs(ours)
        dtype = eyes.source.dtype(source)
        items.append(
            _Item(source=source, name=theirs.theirs(ours), shape=tuple(parameter.shape), form=None, dtype=dtype)
        )
    return items


def _write(out: BinaryIO, items: list[tuple[_Item, Source]]) -> None:
    # Wide elements first: every tensor is aligned.
    entries = [entry for item, _ in items for entry in item.entries()]
    entries.sort(key=lambda entry: (-DTYPES[entry[1]].itemsize, entry[0]))
    header = header_bytes(entries, {"format": "pt"})
    out.write(header)
    places, end = {}, len(header)
    for name, code, shape in entries:
        places[name] = end
        end += torch.Size(shape).numel() * DTYPES[code].itemsize
    out.truncate(end)

    def put(name: str, row: int, rows: Tensor) -> None:
        data = rows.contiguous()
        out.seek(places[name] + row * (data.nbytes // len(data)))
        out.write(data.flatten().view(torch.uint8).numpy().data)

    for item, source in items:
        for start, stop in blocks(item.shape[0], 4 * torch.Size(item.shape[1:]).numel(), ROUNDED):
            if item.form is None:
                put(item.name, start, source.view(item.source, start, stop).to(item.dtype))
            else:
                data, scales = _encoded(source, item.source, item.form, start, stop)
                put(item.name, start, pack_nibbles(data.view(torch.int8)) if item.form == "int4" else data)
                if scales is not None:
                    put(item.name + SCALES, start, scales)
            source.release(item.source, start, stop)
    out.flush()
    os.fsync(out.fileno())


def _encoded(source: Source, name: str, form: Form, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
    """Rows in a form's bytes: a file's own as they are, others by their values."""
    if isinstance(source, PackedSource) and source.kind(name).lower() == form:
        return source.raw(name, start, stop), source.scales(name, start, stop)
    return encode(source.view(name, start, stop), form)
