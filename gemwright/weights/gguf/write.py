"""A model's tensors → a GGUF file that llama.cpp reads.

The tensors come from any open checkpoint. Rows of the table that no piece has are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gemwright.arch.spec import Model
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.ops.blocks import F32, Format
from gemwright.weights.gguf import config, tokenizer
from gemwright.weights.gguf import generation as sampling
from gemwright.weights.gguf.emit import FILE_TYPES, Item, format_of, target, write_file
from gemwright.weights.gguf.names import is_norm, names_of
from gemwright.weights.gguf.tokenizer import Vocabulary
from gemwright.weights.names import Names
from gemwright.weights.stream import Source, match


def write_gguf(
    path: Path,
    spec: Model,
    source: Source,
    names: Names,
    *,
    vocabulary: Vocabulary | None = None,
    generation: Mapping[str, Any] | None = None,
    linear: str = "q8_0",
    table: str | None = None,
    overwrite: bool = False,
) -> dict[str, tuple[str, ...]]:
    """Write a model as one GGUF file, whole or not at all.

    `source` and `names` give the tensors of `spec`'s parameters. `linear` and `table` are formats of `TYPES`; the
    table, which is also the output layer, is Q8_0 beside Q4_0 unless it is said otherwise. `generation` holds sampling
    defaults in the words of `weights.generation`. Returns what stays in the source, by reason. Raises `UserError` for
    a model that the format has no words for, tensors that are missing or unknown, rows that blocks do not fill,
    numbers that do not fit, a full disk, and a file that is there (unless `overwrite`).
    """
    path = target(path, overwrite)
    left = match(_parameters(spec), source, names).left
    table = table or ("q8_0" if linear == "q4_0" else linear)
    if vocabulary is not None:
        vocabulary = tokenizer.trimmed(vocabulary, spec.vocab, source.path)
        spec = replace(spec, vocab=len(vocabulary.pieces))
    spec = replace(spec, vision=None)
    metadata = _metadata(spec, vocabulary, generation or {}, format_of(linear))
    items = _items(spec, names, format_of(linear), format_of(table))
    write_file(path, metadata, items, source)
    return left


def _parameters(spec: Model) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(parameter.shape) for name, parameter in Decoder(spec).named_parameters()}


def _items(spec: Model, names: Names, linear: Format, table: Format) -> list[Item]:
    theirs, items = names_of(spec.family), []
    for ours, shape in _parameters(spec).items():
        name = theirs.theirs(ours)
        form = F32 if is_norm(name) else table if ours == "embed.weight" else linear
        if shape[-1] % form.block:
            raise UserError(
                f"{name} has rows of {shape[-1]}, which blocks of {form.name} ({form.block} values) do not fill",
                hint="write f16 or bf16",
            )
        items.append(Item(name=name, source=names.theirs(ours), form=form, shape=shape))
    return items


def _metadata(
    spec: Model, vocabulary: Vocabulary | None, generation: Mapping[str, Any], linear: Format
) -> dict[str, Any]:
    sizes = config.write_spec(spec)  # first: a family that the format lacks is refused there
    tree: dict[str, Any] = {
        "general.architecture": config.ARCHITECTURES[spec.family],
        "general.type": "model",
        "general.name": spec.name,
        "general.file_type": FILE_TYPES[linear],
        "general.quantization_version": 2,
    }
    tree |= sizes | sampling.entries(generation)
    return tree | (tokenizer.entries(vocabulary) if vocabulary else {"tokenizer.ggml.model": "no_vocab"})
