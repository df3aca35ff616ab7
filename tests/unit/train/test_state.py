"""A checkpoint is there whole, or the one before it counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from gemwright.errors import UserError
from gemwright.train import state
from gemwright.train.state import Checkpoint, latest, write


def _checkpoint(step: int) -> Checkpoint:
    tensors = {"model": {"w": torch.full((3,), float(step))}, "generators": {"run": torch.Generator().get_state()}}
    return Checkpoint(step=step, tensors=tensors, facts={"cursor": [step, None]})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path, _checkpoint(7), keep=2)
    found, notes = latest(tmp_path)
    assert found is not None and found.step == 7 and notes == [] and found.facts == {"cursor": [7, None]}
    for part, tensors in _checkpoint(7).tensors.items():
        assert all(torch.equal(found.tensors[part][name], tensor) for name, tensor in tensors.items())


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15, 100_000_000):
        write(tmp_path, _checkpoint(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000015", "step-100000000"]
    found, _ = latest(tmp_path)
    assert found is not None and found.step == 100_000_000


@pytest.mark.parametrize("name", ["state.json", "model.safetensors", "generators.safetensors"])
@pytest.mark.parametrize("harm", ["absent", "cut", "flipped", "empty"])
def test_a_torn_checkpoint_is_passed_over_and_named(tmp_path: Path, name: str, harm: str) -> None:
    write(tmp_path, _checkpoint(1), keep=3)
    torn = write(tmp_path, _checkpoint(2), keep=3) / name
    data = torn.read_bytes()
    if harm == "absent":
        torn.unlink()
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 0x80]) + data[middle + 1 :]
        torn.write_bytes({"cut": data[:-1], "flipped": flipped, "empty": b""}[harm])
        if name == "state.json" and harm == "cut":
            torn.write_bytes(data[:middle])
    found, notes = latest(tmp_path)
    assert found is not None and found.step == 1
    assert len(notes) == 1 and "step-00000002" in notes[0]


def test_a_damaged_later_one_does_not_push_out_the_one_just_written(tmp_path: Path) -> None:
    for step in (4, 6):
        path = write(tmp_path, _checkpoint(step), keep=2)
    (path / "state.json").unlink()  # a run that went on from 4 comes to 5
    write(tmp_path, _checkpoint(5), keep=1)
    found, _ = latest(tmp_path)
    assert found is not None and found.step == 5


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert latest(tmp_path / "absent") == (None, [])
    state.check_unused(tmp_path)
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    with pytest.raises(UserError, match="holds a run already"):
        state.check_unused(tmp_path / "checkpoints")


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, _checkpoint(1), keep=1)

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="No space left") as caught:
        write(tmp_path, _checkpoint(2), keep=1)
    assert "step-00000001 is untouched" in caught.value.hint
    monkeypatch.undo()
    found, notes = latest(tmp_path)
    assert found is not None and found.step == 1 and notes == []
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_what_a_crash_left_unfinished_is_ignored_and_cleared_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-step-00000009").mkdir(parents=True)
    assert latest(tmp_path) == (None, [])
    write(tmp_path, _checkpoint(1), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_step_written_again_replaces_the_damaged_one(tmp_path: Path) -> None:
    path = write(tmp_path, _checkpoint(3), keep=2)
    (path / "model.safetensors").write_bytes(b"")
    write(tmp_path, _checkpoint(3), keep=2)
    found, notes = latest(tmp_path)
    assert found is not None and found.step == 3 and notes == []
