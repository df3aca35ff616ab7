"""Lines go to the log, and to TensorBoard where that is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemwright.errors import UserError
from gemwright.runlog import read
from gemwright.train.journal import Journal
from gemwright.train.loop import train
from gemwright.train.run import Run, override


def _curves(out: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads."""
    reader: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_without_tensorboard_there_is_the_log_alone(tmp_path: Path) -> None:
    with Journal(tmp_path, tensorboard=False, step=0) as journal:
        journal.write("step", step=1, loss=2.0)
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_tensorboard_has_the_numbers_of_the_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with Journal(tmp_path, tensorboard=True, step=0) as journal:
        for step in (1, 2):
            journal.write("step", step=step, loss=4.0 / step, seconds={"model": 0.5}, memory=None)
        journal.write("evaluation", step=2, loss=1.5)
        journal.write("end", step=2, seconds=1.0)
    assert _curves(tmp_path) == {
        "step/loss": [(1, 4.0), (2, 2.0)],
        "step/seconds/model": [(1, 0.5), (2, 0.5)],
        "evaluation/loss": [(2, 1.5)],
    }
    assert [line["kind"] for line in read(tmp_path / "log.jsonl")] == ["step", "step", "evaluation", "end"]


def test_a_resumed_run_draws_each_step_once(make_run: Callable[..., Run]) -> None:
    pytest.importorskip("tensorboard")
    run = override(make_run(), ["watch.tensorboard=true"])

    def killed(progress: object) -> None:
        if getattr(progress, "step", 0) == 3:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        train(run, progress=killed)
    train(run, resume=True)
    assert [step for step, _ in _curves(run.out)["step/loss"]] == [1, 2, 3, 4, 5, 6]


def test_without_the_extra_the_run_says_what_to_install(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    run = override(make_run(), ["watch.tensorboard=true"])
    with pytest.raises(UserError, match="not installed") as caught:
        train(run)
    assert "gemwright[track]" in caught.value.hint and not run.out.exists()
