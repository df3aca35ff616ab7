"""Checkpoints of a run: complete, atomic, and exact to go on from.

A checkpoint is a folder `step-00000120` that holds tensors (`model`, `optimizer`, `generators`, as safetensors) and
`state.json`, which is written last and names the size and sha256 of every other file. It is written under a temporary
name, flushed to the disk, and renamed: it is there whole, or not there. Whatever else lies in its place (a crash in
the middle, a full disk, a damaged file) is passed over in favour of the one before.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gemwright.errors import UserError
from gemwright.paths import replacing

_NAME = re.compile(r"step-(\d{8,})")
_TEMPORARY = ".unfinished-"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """`tensors`: by part, then by name; `facts`: JSON values, among them all that is no tensor."""

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    facts: Mapping[str, Any]


def write(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Writes a checkpoint under `folder`, then removes the oldest ones beyond `keep`. Returns where it stands.

    Raises `UserError` where it cannot be written; the earlier ones are untouched then.
    """
    target = folder / f"step-{checkpoint.step:08d}"
    work = folder / f"{_TEMPORARY}{target.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(folder)
        work.mkdir()
        files = {}
        for part, tensors in checkpoint.tensors.items():
            path = work / f"{part}.safetensors"
            save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)
            _flush(path)
            files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
        state = {"step": checkpoint.step, "files": files, "facts": dict(checkpoint.facts)}
        (work / "state.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        _flush(work / "state.json")
        _flush(work)
        if target.exists():  # a damaged one, or the same step written again after a resume
            shutil.rmtree(target)
        os.replace(work, target)
        _flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(work, ignore_errors=True)
        before = _up_to(folder, checkpoint.step - 1)
        rest = f"then resume: {before[-1].name} is untouched" if before else "then begin again: there is none before it"
        raise UserError(
            f"cannot write the checkpoint {target}: {error}", hint=f"make room on the disk, {rest}"
        ) from error
    for old in _up_to(folder, checkpoint.step)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint under `folder`, or None; and a note for each newer one that was passed over."""
    notes: list[str] = []
    for path in reversed(_folders(folder)):
        try:
            return _read(path), notes
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            notes.append(f"{path} is not whole and was passed over: {error}")
    return None, notes


def check_unused(folder: Path) -> None:
    """Raises `UserError` where `folder` holds a checkpoint, whole or not: a run that is not resumed would end it."""
    if _folders(folder):
        raise UserError(f"{folder.parent} holds a run already", hint="resume it, or choose another folder")


def _read(path: Path) -> Checkpoint:
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    for name, wanted in state["files"].items():
        file = path / name
        if file.stat().st_size != wanted["bytes"] or sha256(file) != wanted["sha256"]:
            raise ValueError(f"{name} is not what was written")
    tensors = {Path(name).stem: load_file(path / name) for name in state["files"]}
    return Checkpoint(step=state["step"], tensors=tensors, facts=state["facts"])


def _folders(folder: Path) -> list[Path]:
    """Checkpoints under `folder`, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(
        (path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=lambda path: int(path.name[5:])
    )


def _up_to(folder: Path, step: int) -> list[Path]:
    """Checkpoints of this step and before. Later ones, which a resumed run has passed over, are not whole: they must
    not count among those that are kept."""
    return [path for path in _folders(folder) if int(path.name[5:]) <= step]


def _remove_unfinished(folder: Path) -> None:
    for path in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place(path: Path, data: bytes) -> None:
    """Writes a file beside, puts it on the disk, and renames it (see `replacing`). Raises `OSError`."""
    with replacing(path) as work:
        work.write_bytes(data)
        _flush(work)


def _flush(path: Path) -> None:
    """Makes the operating system put a file, or a folder's entries, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
