"""The vision half of a multimodal file into a tower on the meta device; the text half is left alone."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from gemwright.arch.spec import Model
from gemwright.errors import UserError
from gemwright.nn.gemma import Tower
from gemwright.weights.fields import shorten
from gemwright.weights.names import is_vision
from gemwright.weights.stream import CHUNK, Match, Source, load_into, main_dtype
from gemwright.weights.vision_names import COUNT, POOLING, VisionNames, find_vision

# Why a tensor may stay in the file.
POSITIONS = "numbers of positions, counted here"
HEAD = "the encoder's pooling head, which Gemma does not use"
TEXT = "the text half, which a vision tower does not use"


class _Listed:
    """A source of which only some tensors are to be seen."""

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        self._source, self._names = source, names
        self.shape, self.dtype, self.view, self.release = source.shape, source.dtype, source.view, source.release

    @property
    def path(self) -> Path:
        return self._source.path

    def names(self) -> list[str]:
        return list(self._names)


def vision_names(source: Source) -> VisionNames:
    """The renaming between a tower and a multimodal Hugging Face file; `UserError` when that has no vision half."""
    names = find_vision(source.names())
    if names is None:
        raise UserError(
            f"{source.path} holds no vision tower (vision_tower.…, multi_modal_projector.…) that can be read",
            hint="was it saved as a text model? fetch the multimodal folder, in safetensors",
        )
    return names


def stored_dtype(source: Source) -> torch.dtype:
    """The dtype of most of the bytes of the vision half; raises as `vision_names`."""
    names = vision_names(source)
    return main_dtype(source, [theirs for theirs in source.names() if names.ours(theirs)])


def empty_tower(spec: Model, source: Source) -> Tower:
    """The tower that a file's model sees through, on the meta device; `UserError` for a text model."""
    if spec.vision is None:
        raise UserError(f"{source.path} is a text model: it has no vision tower", hint="take Gemma 3 4B or larger")
    with torch.device("meta"):
        return Tower(spec.vision, spec.width)


def load_tower_into(
    tower: Tower,
    source: Source,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    chunk: int = CHUNK,
) -> Match:
    """Fill a tower that was built on the meta device, in `dtype` (None: that of most of its tensors).

    Every tensor of the vision half is used once or stands, by reason, in what is returned. Raises `UserError` naming
    what is missing, unknown or of another shape.
    """
    names = vision_names(source)
    left: dict[str, list[str]] = {}
    seen = []
    for name in source.names():
        if not is_vision(name):
            left.setdefault(TEXT, []).append(name)
        elif name == names.prefix + COUNT:
            left.setdefault(POSITIONS, []).append(name)
        elif name.startswith(names.prefix + POOLING):
            left.setdefault(HEAD, []).append(name)
        else:
            seen.append(name)
    _refuse_unknown(source, tower, names, seen)
    # It asks a module for nothing but its parameters.
    paired = load_into(
        cast(Any, tower), _Listed(source, seen), device=device, dtype=dtype, names=names, place=None, chunk=chunk
    )
    return Match(pairs=paired.pairs, left={reason: tuple(sorted(listed)) for reason, listed in left.items()})


def _refuse_unknown(source: Source, tower: Tower, names: VisionNames, seen: Sequence[str]) -> None:
    """The reader of text models would leave what it does not know of the vision half."""
    ours = {name for name, _ in tower.named_parameters()}
    unknown = [name for name in seen if names.ours(name) not in ours]
    if not unknown:
        return
    missing = [theirs for name in ours if (theirs := names.theirs(name)) not in seen]
    near = difflib.get_close_matches(unknown[0], missing, n=1)
    listed = ", ".join(shorten(name) for name in unknown[:4]) + (", …" if len(unknown) > 4 else "")
    raise UserError(
        f"{source.path}: {len(unknown)} tensors of the vision half are unknown: {listed}",
        hint=f"{shorten(unknown[0])} may be {shorten(near[0])}" if near else "do config and weights belong together?",
    )
