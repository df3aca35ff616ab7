"""train, as people type it: the recipe's own run, changed and watched; the training itself is tested elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gemwright.nn.decoder import Decoder
from gemwright.recipes import pocket
from gemwright.train.evaluate import Evaluation
from gemwright.train.loop import Outcome, Progress
from gemwright.train.run import Run


class Stage:
    """Stands where the recipe's training would: notes what it was asked, shows steps, ends as told."""

    def __init__(self) -> None:
        self.asked: list[tuple[Run, bool]] = []
        self.finishes = True

    def make(self, run: Run, *, resume: bool, progress: Callable[[Progress], None]) -> tuple[Outcome, Path | None]:
        self.asked.append((run, resume))
        for step in range(1, run.steps + 1):
            numbers: dict[str, Any] = {"loss": 2.0, "rate": 1e-3, "norm": 1.0, "tokens_per_second": 100.0}
            times = {"seconds": float(step), "remaining": 60.0}
            note = "the text has changed" if step == 1 else ""
            progress(Progress(step=step, steps=run.steps, **numbers, **times, held_out=None, note=note))
        with torch.device("meta"):
            model = Decoder(run.model)
        held_out = Evaluation(loss=1.5, bits_per_byte=0.75, tokens=10)
        ended = {"step": run.steps, "targets": 1.0, "finished": self.finishes, "seconds": 3.0}
        return Outcome(model=model, held_out=held_out, **ended), run.out / "model" if self.finishes else None


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    staged = Stage()
    monkeypatch.setattr(pocket, "make", staged.make)
    return staged


def test_settings_reach_the_run(cli: Callable, stage: Stage, tmp_path: Path) -> None:
    ended = cli("train", "pocket", "--out", tmp_path, "--set", "steps=300", "--set", "optim.rate=1e-4", "--resume")
    run, resume = stage.asked[0]
    assert ended.code == 0 and ended.out == f"{tmp_path / 'model'}\n"
    assert (run.steps, run.optim.rate, run.out, resume) == (300, 1e-4, tmp_path, True)


def test_progress_notes_and_result_go_to_stderr(cli: Callable, stage: Stage, tmp_path: Path) -> None:
    shown = cli("train", "pocket", "--out", tmp_path, "--set", "steps=120").err
    assert "note: the text has changed" in shown and "0.7500 bits a byte" in shown
    steps = [line for line in shown.splitlines() if line.startswith("step ")]
    assert steps[-1].startswith("step 120/120") and 10 < len(steps) < 20  # one in ten seconds


def test_a_stopped_run_tells_how_to_go_on(cli: Callable, stage: Stage, tmp_path: Path) -> None:
    stage.finishes = False
    ended = cli("train", "pocket", "--out", tmp_path, "--set", "steps=101")
    assert ended.code == 130 and ended.out == "" and "--resume" in ended.err


def test_json_tells_the_outcome(cli: Callable, stage: Stage, tmp_path: Path) -> None:
    tree = cli("train", "pocket", "--out", tmp_path, "--set", "steps=101", "--json").json
    assert tree["finished"] and tree["step"] == 101 and tree["held_out"]["bits_per_byte"] == 0.75


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("speed=3", "speed"),
        ("optim.rate=fast", "optim.rate"),
        ("steps=-1", "steps"),
        ("tokenizer=mine", "tokenizer"),
        ("seed=18446744073709551616", "seed"),
    ],
)
def test_what_cannot_be_set_is_named(cli: Callable, stage: Stage, tmp_path: Path, setting: str, said: str) -> None:
    ended = cli("train", "pocket", "--out", tmp_path, "--set", setting)
    assert ended.code == 2 and said in ended.err and not stage.asked


def test_an_unknown_recipe_is_refused_with_the_known_ones(cli: Callable, tmp_path: Path) -> None:
    ended = cli("train", "nothing", "--out", tmp_path)
    assert ended.code == 2 and "pocket" in ended.err
