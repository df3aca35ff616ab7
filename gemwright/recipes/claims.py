"""The reports' claim about distillation, in miniature: many runs of a small sibling of the pocket model.

    python -m gemwright.recipes.claims --out DIR --large DIR/pocket/model --small DIR/sibling/model

At equal tokens, from the next token alone and from a teacher, for several seeds: held-out loss and mean skill with
intervals (Gemma 2 report, "Knowledge distillation"; Gemma 3 report, "Distillation"). And the loss of students of a
small and a large teacher over the training horizon (Gemma 3 report, figure 8: small teachers are ahead at first, large
ones later). All runs of a seed go on from the same first lessons. Every run resumes; a finished one is not run again;
`claims.json` and `claims.png` are written anew from what is finished.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gemwright
from gemwright.errors import UserError
from gemwright.evals import pocket
from gemwright.recipes import curriculum, family
from gemwright.recipes.curriculum import LESSONS
from gemwright.recipes.sibling import sibling
from gemwright.train.distill import REPORTED
from gemwright.train.run import Run, override

SEEDS = (1, 2, 3)
HORIZONS = (250, 500, 1000, 2000)  # steps
ITEMS = 200  # of a skill
_STUDENT_T = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}  # two-sided 95%, by the number of runs


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run: who teaches (None: nobody), for how many steps, from which seed."""

    teacher: str | None
    steps: int
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.teacher or 'scratch'}-{self.steps}-seed{self.seed}"


def trials(steps: int, horizons: Sequence[int], seeds: Sequence[int]) -> Iterator[Trial]:
    """The headline pair for every seed, then the horizons of both teachers for the first."""
    for seed in seeds:
        for teacher in (None, "large"):
            yield Trial(teacher=teacher, steps=steps, seed=seed)
    for horizon in horizons:
        for teacher in ("small", "large"):
            if (teacher, horizon) != ("large", steps):
                yield Trial(teacher=teacher, steps=horizon, seed=seeds[0])


def planned(trial: Trial, out: Path, teachers: dict[str, str], settings: Sequence[str]) -> Run:
    """The run of a trial, in its folder under `out`. All of one seed go on from the same lessons."""
    run = replace(sibling(out / trial.name), start=str(family.lessons(out / f"seed{trial.seed}")))
    schedule = replace(run.schedule, warmup=min(run.schedule.warmup, trial.steps // 10))
    distill = None if trial.teacher is None else replace(REPORTED, teacher=teachers[trial.teacher])
    return override(replace(run, steps=trial.steps, seed=trial.seed, schedule=schedule, distill=distill), settings)


def measure(run: Run, items: int) -> dict[str, Any]:
    """Trains what is not trained yet; held-out loss and skills, which are kept beside the model."""
    kept = run.out / "measured.json"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    _share_tokens(run)
    outcome, folder = family.make(run, resume=True, progress=lambda now: _line(run, now.step, now.steps, now.loss))
    assert folder is not None and outcome.held_out is not None, "it was not stopped"
    skills = pocket.pocket(gemwright.load(folder), count=items)
    found = {
        "loss": outcome.held_out.loss,
        "skill": statistics.mean(row.score for row in skills.rows),
        "skills": {row.skill: row.score for row in skills.rows},
    }
    kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def _share_tokens(run: Run) -> None:
    """All runs read one text, so its tokens are made once; a run that began with its own keeps them."""
    mine, shared = run.out / "tokens", run.out.parent / "tokens"
    if mine.exists():
        return
    try:
        run.out.mkdir(parents=True, exist_ok=True)
        shared.mkdir(exist_ok=True)
        mine.symlink_to(shared.resolve(), target_is_directory=True)
    except OSError as error:
        raise UserError(f"cannot write {mine}: {error.strerror}", hint="choose another folder") from error


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean of a few runs and the half of its 95% interval (Student's t); infinite for one run."""
    if len(values) not in _STUDENT_T:
        return statistics.mean(values), float("inf")
    return statistics.mean(values), _STUDENT_T[len(values)] * statistics.stdev(values) / len(values) ** 0.5


def summary(found: dict[Trial, dict[str, Any]], steps: int) -> dict[str, Any]:
    """The headline pair with intervals, and loss over horizon for each teacher, of the first seed."""
    pair: dict[str, Any] = {}
    first = next((trial.seed for trial in found), None)
    for teacher in (None, "large"):
        runs = [one for trial, one in found.items() if trial.teacher == teacher and trial.steps == steps]
        pair[teacher or "scratch"] = {
            "runs": len(runs),
            **{what: interval([run[what] for run in runs]) for what in ("loss", "skill") if runs},
        }
    horizon = {
        teacher: sorted(
            (trial.steps, one["loss"])
            for trial, one in found.items()
            if (trial.teacher, trial.seed) == (teacher, first)
        )
        for teacher in ("small", "large")
    }
    return {"steps": steps, "pair": pair, "horizon": horizon}


def plot(told: dict[str, Any], path: Path) -> None:
    """Loss over horizon, one line for each teacher, and the headline's students of nobody with their interval. Raises
    `UserError` without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("a plot needs matplotlib", hint="pip install 'gemwright[report]'") from error
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    panel = figure.add_subplot()
    for (teacher, points), colour in zip(told["horizon"].items(), ("#f9ab00", "#1a73e8"), strict=True):
        if points:
            panel.plot(*zip(*points, strict=True), marker="o", color=colour, label=f"{teacher} teacher")
    alone = told["pair"]["scratch"]
    if alone["runs"] > 1:
        mean, half = alone["loss"]
        panel.errorbar([told["steps"]], [mean], [half], fmt="s", color="#5f6368", capsize=3, label="no teacher")
    panel.set(xlabel=f"steps of {LESSONS[-1].tokens:,} tokens", ylabel="held-out loss, nats a token", xscale="log")
    panel.spines[["top", "right"]].set_visible(False)
    horizons = sorted({steps for points in told["horizon"].values() for steps, _ in points})
    if horizons:
        panel.set_xticks(horizons, [f"{steps:,}" for steps in horizons])
        panel.set_xticks([], minor=True)
        panel.legend(frameon=False)
    figure.savefig(path, dpi=150)


def _line(run: Run, step: int, steps: int, loss: float) -> None:
    if step % 50 == 0 or step == steps:
        print(f"{run.out.name}: step {step}/{steps}  loss {loss:.3f}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The experiment from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m gemwright.recipes.claims", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--out", required=True, type=Path, help="folder of all runs")
    parser.add_argument("--large", required=True, help="the large teacher's model")
    parser.add_argument("--small", required=True, help="the small teacher's model")
    parser.add_argument("--steps", type=int, default=1000, help="of the headline pair (%(default)s)")
    parser.add_argument("--horizon", type=int, action="append", help="steps; may be given again; default: 250 to 2000")
    parser.add_argument("--seed", type=int, action="append", help="may be given again; default: 1, 2, 3")
    parser.add_argument("--items", type=int, default=ITEMS, help="questions of a skill (%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change a field of all runs")
    given = parser.parse_args(arguments)
    teachers = {"large": given.large, "small": given.small}
    found: dict[Trial, dict[str, Any]] = {}
    try:
        curriculum.prepare(given.out / "curriculum")
        for trial in trials(given.steps, given.horizon or HORIZONS, given.seed or SEEDS):
            found[trial] = measure(planned(trial, given.out, teachers, given.set), given.items)
            told = summary(found, given.steps)
            (given.out / "claims.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
            plot(told, given.out / "claims.png")
    except UserError as error:
        print(error.told, file=sys.stderr)
        return 2
    print(json.dumps(summary(found, given.steps), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
