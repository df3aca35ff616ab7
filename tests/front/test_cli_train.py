"""train, as people type it: the recipe's own run, changed and watched; the training itself is tested elsewhere."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gemwright.cli.train_view import View, duration, sparkline
from gemwright.nn.decoder import Decoder
from gemwright.recipes import python
from gemwright.train.evaluate import Evaluation
from gemwright.train.progress import Outcome, Progress
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
            numbers |= {"parts": {"data": 0.1, "model": 0.8}, "memory": 123_000_000}
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
    monkeypatch.setattr(python, "make", staged.make)
    return staged


def test_settings_reach_the_run(cli: Callable, stage: Stage, tmp_path: Path) -> None:
    ended = cli("train", "python", "--out", tmp_path, "--set", "steps=300", "--set", "optim.rate=1e-4", "--resume")
    run, resume = stage.asked[0]
    assert ended.code == 0 and ended.out == f"{tmp_path / 'model'}\n"
    assert (run.steps, run.optim.rate, run.out, resume) == (300, 1e-4, tmp_path, True)


def test_progress_notes_and_result_go_to_stderr(cli: Callable, stage: Stage, tmp_path: Path) -> None:
    shown = cli("train", "python", "--out", tmp_path, "--set", "steps=120").err
    assert "note: the text has changed" in shown and "0.7500 bits a byte" in shown
    steps = [line for line in shown.splitlines() if line.startswith("step ")]
    assert steps[-1].startswith("step 120/120") and 10 < len(steps) < 20  # one in ten seconds


def test_a_recipe_of_two_runs_shows_both(stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = python.python(tmp_path)
    with View("python") as view:
        for steps in (100, 25):
            stage.make(replace(long, steps=steps), resume=False, progress=view.show)
    shown = capsys.readouterr().err
    assert "step 100/100" in shown and "step 1/25" in shown and "step 11/25" in shown


def test_a_stopped_run_tells_how_to_go_on(cli: Callable, stage: Stage, tmp_path: Path) -> None:
    stage.finishes = False
    ended = cli("train", "python", "--out", tmp_path, "--set", "steps=101")
    assert ended.code == 130 and ended.out == "" and "--resume" in ended.err


def test_json_tells_the_outcome(cli: Callable, stage: Stage, tmp_path: Path) -> None:
    tree = cli("train", "python", "--out", tmp_path, "--set", "steps=101", "--json").json
    assert tree["finished"] and tree["step"] == 101 and tree["held_out"]["bits_per_byte"] == 0.75


def test_tensorboard_is_a_wish_of_the_run(cli: Callable, stage: Stage, tmp_path: Path) -> None:
    assert cli("train", "python", "--out", tmp_path, "--tensorboard").code == 0
    assert cli("train", "python", "--out", tmp_path).code == 0
    assert [run.watch.tensorboard for run, _ in stage.asked] == [True, False]


SMALL = ("--set", "data.row=32", "--set", "step.tokens=64", "--set", "step.micro=64")


def test_a_dry_run_tells_numbers_operations_memory_time_and_cost(cli: Callable, stage: Stage, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ended = cli("train", "python", "--out", out, *SMALL, "--dry-run", "--price", "2.5", "--set", "ema=0.99")
    assert ended.code == 0 and not stage.asked and not out.exists()
    lines = {re.split(r"\s{2,}", line.strip())[0]: line for line in ended.out.splitlines()}
    assert "2,349,952" in lines["parameters"] and "18.8 MB" in lines["moments"] and "at most 96,000" in ended.out
    assert {"operations of the run", "memory", "time", "cost"} <= lines.keys()
    assert max(map(len, ended.out.splitlines())) <= 80


def test_a_dry_run_as_json_adds_up(cli: Callable, stage: Stage, tmp_path: Path) -> None:
    words = ("train", "python", "--out", tmp_path, *SMALL, "--dry-run", "--price", "3600", "--json")
    tree = cli(*words).json
    assert tree["flops"] == 1500 * sum(tree["flops_of_a_step"].values()) and tree["tokens"] == 1500 * 64
    assert tree["cost"] == pytest.approx(tree["seconds"]) and tree["basis"] == "step"
    assert tree["memory"]["total"] == sum(size for name, size in tree["memory"].items() if name != "total")


@pytest.mark.parametrize("words", [("--price", "2"), ("--dry-run", "--price", "-1")])
def test_a_price_without_a_meaning_is_refused(cli: Callable, stage: Stage, tmp_path: Path, words: tuple) -> None:
    ended = cli("train", "python", "--out", tmp_path, *words)
    assert ended.code == 2 and "price" in ended.err and not stage.asked


class Terminal(io.StringIO):
    """Somebody looks."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_panel_within_eighty_columns_tells_all(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with View("python") as view:
        stage.make(python.python(tmp_path), resume=False, progress=view.show)
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).rpartition("╭")[2]
    told = ("step 1,500 of 1,500", "loss", "100 tokens/s", "model 80%", "123 MB", "25 min gone, 60 s left", "held out")
    assert all(part in last for part in told)
    assert max(map(len, last.splitlines())) <= 80 and "note: the text has changed" in screen.getvalue()


def test_the_curve_falls_with_the_loss_and_fits() -> None:
    assert sparkline([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 80) == "█▇▆▅▄▃▂▁"
    assert sparkline([4.0] * 50 + [2.0] * 50, 4) == "██▁▁"
    assert sparkline([], 10) == "" and sparkline([3.0], 10) == "▁" and len(sparkline([1.0, 2.0] * 999, 30)) == 30


@pytest.mark.parametrize(
    ("seconds", "said"), [(8, "8 s"), (95, "2 min"), (3599, "1 h 0 min"), (12_000, "3 h 20 min"), (190_000, "2 d 4 h")]
)
def test_times_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


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
    ended = cli("train", "python", "--out", tmp_path, "--set", setting)
    assert ended.code == 2 and said in ended.err and not stage.asked


def test_an_unknown_recipe_is_refused_with_the_known_ones(cli: Callable, tmp_path: Path) -> None:
    ended = cli("train", "nothing", "--out", tmp_path)
    assert ended.code == 2 and "pocket" in ended.err
