"""Two ablations of the Gemma 3 report in miniature: the resolution of pictures, and pan and scan.

    python -m gemwright.recipes.sight_ablations --out RUNS/sight-ablations --reader RUNS/pocket/model

One short run of `sight` for each size of picture (Gemma 3 report, "Impact of image encoder input resolution"), and a
lesson of cut pictures after it (`cutting`); each is asked about unseen pictures as they are, and cut by pan and scan
(its "Pan & Scan"): wide ones with small print, wide and tall ones with words and things, and square ones, which are not
cut. `RUNS/curriculum` must be there. Every run resumes, a finished one is not run again; `ablations.json` and
`ablations.png` are written anew from what is finished.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gemwright
from gemwright.engine import pictures
from gemwright.errors import UserError
from gemwright.evals.answers import ask
from gemwright.evals.pocket import sampling
from gemwright.image.pan_scan import PanScan
from gemwright.lm import LM
from gemwright.recipes import cutting, sight
from gemwright.recipes.album import CUTS
from gemwright.recipes.common import train_and_export
from gemwright.recipes.cutting import small_print
from gemwright.recipes.family import SAMPLING
from gemwright.tasks.item import Item
from gemwright.tasks.pictures.draw import picture
from gemwright.tasks.skills import judge
from gemwright.tasks.split import draw, items
from gemwright.train.run import Run, override
from gemwright.train.schedule import Schedule

SIDES = (48, 64, 96)
PICTURES, EARLY, STEPS, ITEMS = 15_000, (500, 300), 300, 200
_CUTTING = 400  # steps of the lesson of cut pictures, at a rate of
_RATE = 3e-3
_SHARES = (0.8, 0.2)  # of its tokens: pictures, texts
_READ = 45  # conversations that a step of it reads
# What is asked, by what it needs: task and, as width over height, how long the pictures are at least and at most.
ASKED: dict[str, tuple[tuple[str, ...], float, float]] = {
    "small print": (("small_print",), 2.0, 9.0),
    "words, wide": (("word",), 1.5, 9.0),
    "charts, wide": (("chart_value", "chart_extreme"), 1.3, 9.0),
    "counts, wide or tall": (("count", "count_all"), 1.5, 9.0),
    "things, wide or tall": (("colour", "shape", "place"), 1.5, 9.0),
    "things, nearly square": (("colour", "shape", "place"), 1.0, 1.2),
}


def planned(side: int, out: Path, shared: Path, steps: int, settings: Sequence[str]) -> Run:
    """The run for pictures of `side` pixels."""
    run = sight.sight(out / f"side-{side}")
    run = replace(
        run,
        model=replace(run.model, vision=sight.eyes(side)),
        tokenizer=shared / "tokenizer",
        steps=steps,
        schedule=replace(run.schedule, warmup=min(run.schedule.warmup, steps // 10)),
    )
    return override(run, settings)


def questions(group: str, count: int) -> list[Item]:
    """So many of a group of `ASKED`, of the test side."""
    tasks, least, most = ASKED[group]
    found: list[Item] = []
    for task in tasks:
        stream = (item for item in _unseen(task) if least <= _length(item) < most)
        found += itertools.islice(stream, count // len(tasks))
    return found


def _unseen(task: str) -> Iterator[Item]:
    if task != "small_print":
        return items(f"pictures/{task}", "test")
    generator = random.Random("small print")
    return (draw(small_print, "test", generator) for _ in itertools.count())


def _length(item: Item) -> float:
    assert item.scene is not None
    width, height = item.scene["width"], item.scene["height"]
    return max(width, height) / min(width, height)


def scores(lm: LM, asked: Sequence[Item], rule: PanScan | None) -> float:
    """The mean score of the answers to questions whose pictures are cut by `rule`."""
    conversations = []
    for item in asked:
        shown = pictures.show(picture(item), lm.engine.eyes.spec.tower.image, rule=rule)
        conversations.append((replace(item.messages[-1], images=(shown,)),))
    answers = ask(lm, conversations, sampling=sampling(40))
    return statistics.mean(judge(item, one.text).score for item, one in zip(asked, answers, strict=True))


def lesson(run: Run, folder: Path) -> Run:
    """The lesson of cut pictures for the model in `folder`, which `run` made."""
    out = run.out / "cutting"
    return replace(
        run,
        name=f"{run.name}, cut pictures",
        start=str(folder),
        data=replace(run.data, sources=(str(out / "album.jsonl"), run.data.sources[1]), weights=_SHARES),
        optim=replace(run.optim, rate=_RATE),
        schedule=Schedule(kind="wsd", warmup=_CUTTING // 20, floor=0.05, decay=0.4),
        steps=_CUTTING,
        out=out,
    )


def cut(run: Run, folder: Path) -> Path:
    """The model in `folder` after that lesson; kept below `run.out`."""
    assert run.model.vision is not None, "a run that looks at pictures"
    after = lesson(run, folder)
    if not (after.out / "model").exists():
        count, side = after.steps * _READ, run.model.vision.tower.image
        cutting.prepare(Path(after.data.sources[0]), seed=run.seed, count=count, side=side)
        train_and_export(after, sampling=SAMPLING, converses=True, resume=True, progress=None, stop=None)
    return after.out / "model"


def measure(run: Run, reader: Path, drawn: int, early: Sequence[int], count: int) -> dict[str, Any]:
    """Trains what is not trained yet; the score of each group as it is and cut, which are kept beside the model."""
    kept = run.out / "measured.json"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    how = replace(sight.NAMING, pictures=2 * drawn, plain=drawn // 4)
    _, folder = sight.make(run, resume=True, reader=reader, pictures=drawn, early=early, how=how)
    assert folder is not None, "it was not stopped"
    lm = gemwright.load(cut(run, folder))
    found: dict[str, Any] = {}
    for group in ASKED:
        asked = questions(group, count)
        found[group] = {"whole": scores(lm, asked, None), "cut": scores(lm, asked, CUTS), "items": len(asked)}
    kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def plot(found: dict[int, dict[str, Any]], path: Path) -> None:
    """Score over resolution, a line for each group; and, at each resolution, how much pan and scan adds. Raises
    `UserError` without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("a plot needs matplotlib", hint="pip install 'gemwright[report]'") from error
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    sides = sorted(found)
    for place, group in enumerate(ASKED):
        colour = f"C{place}"
        left.plot(sides, [100 * found[side][group]["whole"] for side in sides], "o-", color=colour, label=group)
        gains = [100 * (found[side][group]["cut"] - found[side][group]["whole"]) for side in sides]
        right.plot(sides, gains, "o-", color=colour)
    right.axhline(0, color="grey", linewidth=0.8)
    left.set(xlabel="pixels of a side", ylabel="right answers, %", title="input resolution", xticks=sides)
    right.set(xlabel="pixels of a side", ylabel="points won or lost", title="pan and scan", xticks=sides)
    for panel in (left, right):
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> int:
    """The ablations from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m gemwright.recipes.sight_ablations", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--out", required=True, type=Path, help="folder of all runs; curriculum is beside it")
    parser.add_argument("--reader", required=True, type=Path, help="the model that reads")
    parser.add_argument("--side", type=int, action="append", help="pixels; may be given again; default: 48, 64, 96")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="of a run's album (%(default)s)")
    parser.add_argument("--early", type=int, nargs=2, default=EARLY, help="steps of the lessons before (%(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="of a run after its lessons (%(default)s)")
    parser.add_argument("--items", type=int, default=ITEMS, help="questions of a group (%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change a field of all runs")
    given = parser.parse_args(arguments)
    found: dict[int, dict[str, Any]] = {}
    try:
        for side in given.side or SIDES:
            run = planned(side, given.out, given.out.parent / "curriculum", given.steps, given.set)
            found[side] = measure(run, given.reader, given.pictures, given.early, given.items)
            (given.out / "ablations.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            plot(found, given.out / "ablations.png")
    except UserError as error:
        print(error.told, file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
