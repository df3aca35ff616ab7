"""The experiment on distillation: which runs it makes, what it says of them, and that it goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gemwright.errors import UserError
from gemwright.recipes import claims
from gemwright.recipes.claims import Trial, interval, main, planned, summary, trials
from gemwright.recipes.family import earlier
from gemwright.train.run import Run

TEACHERS = {"large": "somewhere/large", "small": "somewhere/small"}


def test_the_pair_is_run_for_every_seed_and_the_horizons_once() -> None:
    made = list(trials(100, (50, 100, 200), (1, 2, 3)))
    assert len(made) == len(set(made)) == 6 + 5
    pair = [trial for trial in made if trial.steps == 100 and trial.teacher != "small"]
    assert {(trial.teacher, trial.seed) for trial in pair} == {
        (who, seed) for who in (None, "large") for seed in (1, 2, 3)
    }
    for teacher in ("small", "large"):
        assert {trial.steps for trial in made if trial.teacher == teacher and trial.seed == 1} == {50, 100, 200}


def test_a_pair_differs_in_its_teacher_alone(tmp_path: Path) -> None:
    alone, taught = (
        planned(Trial(teacher=teacher, steps=100, seed=2), tmp_path, TEACHERS, []) for teacher in (None, "large")
    )
    assert alone.distill is None and taught.distill is not None and taught.distill.teacher == "somewhere/large"
    assert alone.seed == taught.seed == 2 and alone.steps == taught.steps == 100
    assert (alone.data, alone.optim, alone.schedule, alone.model) == (
        taught.data,
        taught.optim,
        taught.schedule,
        taught.model,
    )


def test_all_runs_of_a_seed_have_the_same_lessons(tmp_path: Path) -> None:
    made = {trial: planned(trial, tmp_path, TEACHERS, []) for trial in trials(100, (50,), (1, 2))}
    before = {trial: [(lesson.out, lesson.seed) for lesson in earlier(run)] for trial, run in made.items()}
    for trial, lessons in before.items():
        assert lessons and all(seed == trial.seed for _, seed in lessons)
        assert lessons == before[Trial(teacher=None, steps=100, seed=trial.seed)]
        assert Path(made[trial].start or "") == lessons[-1][0] / "model"
    assert len({lessons[0][0] for lessons in before.values()}) == 2


def test_three_runs_have_students_interval() -> None:
    mean, half = interval([1.0, 2.0, 3.0])
    assert mean == 2.0 and half == pytest.approx(4.303 / 3**0.5)
    assert interval([1.0]) == (1.0, float("inf"))


def test_it_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def measured(run: Run, items: int) -> dict[str, Any]:
        made.append(run.out.name)
        loss = 2.0 - 0.5 * (run.distill is not None) - run.steps / 1000
        return {"loss": loss, "skill": 0.5, "skills": {}}

    monkeypatch.setattr(claims, "measure", measured)
    monkeypatch.setattr(claims.curriculum, "prepare", lambda folder: folder.mkdir(parents=True, exist_ok=True))
    words = [
        "--out",
        str(tmp_path),
        "--large",
        "a",
        "--small",
        "b",
        "--steps",
        "200",
        "--horizon",
        "200",
        "--horizon",
        "400",
    ]
    assert main(words) == 0
    told = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    assert told["pair"]["scratch"]["loss"][0] == pytest.approx(1.8)
    assert told["pair"]["large"]["loss"][0] == pytest.approx(1.3)
    assert told["horizon"]["large"][0][0] == 200 and len(told["horizon"]["small"]) == 2
    assert (tmp_path / "claims.png").stat().st_size > 10_000
    assert len(made) == len(set(made)) == 6 + 3


def test_a_measured_run_is_not_run_again(tmp_path: Path) -> None:
    run = planned(Trial(teacher=None, steps=100, seed=1), tmp_path, TEACHERS, [])
    run.out.mkdir(parents=True)
    (run.out / "measured.json").write_text('{"loss": 1.5, "skill": 0.25, "skills": {}}', encoding="utf-8")
    assert claims.measure(run, 10)["loss"] == 1.5


def test_nothing_is_said_of_what_has_not_been_run() -> None:
    told = summary({}, 100)
    assert told["pair"]["scratch"] == {"runs": 0} and told["horizon"] == {"small": [], "large": []}


def test_the_horizon_is_that_of_the_first_seed() -> None:
    losses = {("large", 50, 1): 3.0, ("large", 100, 1): 2.0, ("large", 100, 2): 1.0, (None, 100, 1): 4.0}
    found = {
        Trial(teacher=teacher, steps=steps, seed=seed): {"loss": loss, "skill": 0.5}
        for (teacher, steps, seed), loss in losses.items()
    }
    told = summary(found, 100)
    assert told["horizon"] == {"small": [], "large": [(50, 3.0), (100, 2.0)]}
    assert told["pair"]["large"]["runs"] == 2 and told["pair"]["large"]["loss"][0] == 1.5


def test_the_tokens_of_all_runs_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []

    def made(run: Run, **_: object) -> Any:
        (run.out / "tokens" / run.out.name).touch()
        seen.append((run.out / "tokens").resolve())
        raise UserError("enough")

    monkeypatch.setattr(claims.family, "make", made)
    begun = planned(Trial(teacher=None, steps=9, seed=1), tmp_path, TEACHERS, [])
    own = begun.out / "tokens"
    own.mkdir(parents=True)
    for seed in (1, 2, 3):
        with pytest.raises(UserError, match="enough"):
            claims.measure(planned(Trial(teacher=None, steps=9, seed=seed), tmp_path, TEACHERS, []), 1)
    assert seen == [own, tmp_path / "tokens", tmp_path / "tokens"]
