"""The composition root: name → folder → spec → an empty model on the meta device → its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from gemwright.arch.spec import Model
from gemwright.errors import UserError
from gemwright.nn.decoder import NO_FLOAT16, Decoder
from gemwright.weights import hf_config, hub, torch_ckpt
from gemwright.weights.folder import Folder
from gemwright.weights.layout import Layout
from gemwright.weights.names import Names
from gemwright.weights.stream import Match, Place, Source, is_rounded, load_into, main_dtype, names_for

_DTYPES = {
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float32": torch.float32,
    "fp32": torch.float32,
    "f32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
    "half": torch.float16,
}


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model in memory and where it came from.

    `layout` is what an export needs to give back the same files (None for a format that is not written). `notes` are
    remarks for people; `left` lists the file's tensors that were not used, by reason.
    """

    model: Decoder
    spec: Model
    layout: Layout | None
    folder: Path
    dtype: torch.dtype
    device: torch.device
    notes: tuple[str, ...]
    left: dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A checkpoint whose headers have been read and checked; `layout` is None for a format that is not written."""

    spec: Model
    source: Source
    names: Names
    layout: Layout | None
    folder: Path

    @property
    def stored(self) -> torch.dtype:
        """The dtype of most of the bytes that the model takes from the files: what "auto" goes by."""
        return main_dtype(self.source, [name for name in self.source.names() if self.names.ours(name)])


def open_checkpoint(path: Path, preset: str | Model | None = None) -> Opened:
    """Read what a folder or .ckpt file says about itself, without its weights. `preset`: see `load_model`.

    Raises `UserError` for files that are damaged, missing or of another kind.
    """
    if torch_ckpt.is_checkpoint(path):
        source, layout = torch_ckpt.TorchCheckpoint(path, preset), None
        spec, names, folder = source.spec, source.table, path if path.is_dir() else path.parent
    else:
        spec, layout = hf_config.read(path)
        source, folder = Folder(path), path
        names = names_for(spec, source)
    return Opened(spec=spec, source=source, names=names, layout=layout, folder=folder)


def load_model(
    name: str | Path | None = None,
    *,
    dtype: torch.dtype | str = "auto",
    device: torch.device | str = "auto",
    preset: str | Model | None = None,
    place: Place | None = None,
) -> Loaded:
    """Load a model by folder, .ckpt file or name (None: the model that ships with the package).

    `dtype` "auto" keeps the file's, except float16: that becomes float32 on a CPU and bfloat16 elsewhere. `device`
    "auto" is CUDA where there is one. `preset` names (or is) the model of a gemma_pytorch file whose
    shapes are not those of a published one.
    Raises `UserError` for everything that a person can mend.
    """
    where = choose_device(device)
    opened = open_checkpoint(hub.resolve(name), preset)
    notes = [*opened.layout.notes] if opened.layout else []
    chosen = choose_dtype(dtype, opened.stored, where, notes)
    with torch.device("meta"):
        model = Decoder(opened.spec)
    paired = load_into(model, opened.source, device=where, dtype=chosen, names=opened.names, place=place)
    notes += _rounded(model, opened.source, paired)
    return Loaded(
        model=model.eval(),
        spec=opened.spec,
        layout=opened.layout,
        folder=opened.folder,
        dtype=chosen,
        device=where,
        notes=tuple(notes),
        left=paired.left,
    )


def _rounded(model: Decoder, source: Source, paired: Match) -> list[str]:
    """A note for each dtype whose tensors lost digits on the way into the model."""
    lost: dict[tuple[torch.dtype, torch.dtype], list[str]] = {}
    for ours, theirs in paired.pairs:
        stored, held = source.dtype(theirs), model.get_parameter(ours).dtype
        if is_rounded(stored, held):
            lost.setdefault((stored, held), []).append(theirs)
    return [
        f"{len(names)} tensors are stored as {_word(stored)} and were rounded to {_word(held)}: "
        + ", ".join(names[:2])
        + (", …" if len(names) > 2 else "")
        for (stored, held), names in lost.items()
    ]


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def choose_device(device: torch.device | str) -> torch.device:
    """The device meant by a word; "auto" is CUDA where there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"no device is called {str(device)!r}", hint="use auto, cpu or cuda") from error
    if chosen.type not in ("cpu", "cuda"):
        raise UserError(f"models do not run on {chosen.type} yet", hint="use auto, cpu or cuda")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError("this machine has no CUDA device that torch can use", hint="use --device cpu")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UserError(f"there is no {chosen}: this machine has {torch.cuda.device_count()}", hint="use cuda:0")
    return chosen


def choose_dtype(wanted: torch.dtype | str, stored: torch.dtype, device: torch.device, notes: list[str]) -> torch.dtype:
    """The dtype to compute in; says in `notes` when it is not the file's although "auto" was asked."""
    if wanted == "auto":
        if stored == torch.float16:
            chosen = torch.float32 if device.type == "cpu" else torch.bfloat16
            notes.append(f"the file is float16, which Gemma 3 overflows: loaded as {_word(chosen)}")
            return chosen
        return torch.float32 if stored == torch.float64 else stored
    chosen = _DTYPES.get(wanted.removeprefix("torch.").lower()) if isinstance(wanted, str) else wanted
    if chosen == torch.float16:
        raise UserError(NO_FLOAT16.partition(";")[0], hint="use bfloat16, which is as small, or float32")
    if chosen not in (torch.bfloat16, torch.float32):
        raise UserError(f"a model cannot run in {wanted}", hint="use auto, bfloat16 or float32")
    return chosen
