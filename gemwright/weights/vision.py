"""The vision half of a multimodal file into a tower on the meta device; the text half is left alone."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gemwright.arch.spec import Model, Vision
from gemwright.errors import UserError
from gemwright.nn.gemma import Tower
from gemwright.weights.fields import shorten
from gemwright.weights.names import Names, is_vision
from gemwright.weights.stream import CHUNK, Match, Source, is_packed, load_into, main_dtype
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


@dataclass(frozen=True, kw_only=True)
class Eyes:
    """The vision half of an open file: what it is, the width of the decoder that it leads to, and its tensors."""

    vision: Vision
    width: int
    source: Source
    names: Names

    @property
    def stored(self) -> torch.dtype:
        """The dtype of most of its bytes; packed tensors count as bfloat16."""
        used = [theirs for theirs in self.source.names() if self.names.ours(theirs)]
        if any(is_packed(self.source, name) for name in used):
            return torch.bfloat16
        return main_dtype(self.source, used)

    def empty(self) -> Tower:
        """Its tower, on the meta device."""
        with torch.device("meta"):
            return Tower(self.vision, self.width)


def eyes_of(spec: Model, source: Source) -> Eyes:
    """The vision half of a Hugging Face file; `UserError` for a text model, and when there are no tensors of it."""
    if spec.vision is None:
        raise UserError(f"{source.path} is a text model: it has no vision tower", hint="take Gemma 3 4B or larger")
    names = find_vision(source.names())
    if names is None:
        raise UserError(
            f"{source.path} holds no vision tower (vision_tower.…, multi_modal_projector.…) that can be read",
            hint="was it saved as a text model? fetch the multimodal folder, in safetensors",
        )
    return Eyes(vision=spec.vision, width=spec.width, source=source, names=names)


def behind(left: Mapping[str, Sequence[str]], eyes: Eyes) -> dict[str, tuple[str, ...]]:
    """Of what a text model leaves in its file, by reason: what stays there if the vision half goes along."""
    kept = {reason: tuple(name for name in names if not eyes.names.ours(name)) for reason, names in left.items()}
    return {reason: names for reason, names in kept.items() if names}


def load_tower_into(
    tower: Tower,
    eyes: Eyes,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    chunk: int = CHUNK,
) -> Match:
    """Fill a tower that was built on the meta device, in `dtype` (None: that of most of its tensors).

    Every tensor of the vision half is used once or stands, by reason, in what is returned. Raises `UserError` naming
    what is missing, unknown or of another shape.
    """
    source, names = eyes.source, eyes.names
    left: dict[str, list[str]] = {}
    seen = []
    for name in source.names():
        if not is_vision(name):
            left.setdefault(TEXT, []).append(name)
        elif isinstance(names, VisionNames) and name == names.prefix + COUNT:
            left.setdefault(POSITIONS, []).append(name)
        elif isinstance(names, VisionNames) and name.startswith(names.prefix + POOLING):
            left.setdefault(HEAD, []).append(name)
        else:
            seen.append(name)
    _refuse_unknown(source, tower, names, seen)
    paired = load_into(tower, _Listed(source, seen), device=device, dtype=dtype, names=names, chunk=chunk)
    return Match(pairs=paired.pairs, left={reason: tuple(sorted(listed)) for reason, listed in left.items()})


def _refuse_unknown(source: Source, tower: Tower, names: Names, seen: Sequence[str]) -> None:
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
