"""The pocket model learns to see: a small tower, made from nothing, and the decoder that learns to look through it.

    gemwright train sight --out RUNS/sight

`RUNS/pocket/model` is the model that reads, `RUNS/curriculum` what it read. A tower that begins by looking at what
is near (`neighbours`) learns to name what lies where in drawn pictures (`naming`), and is put before the decoder. Both
learn from questions about pictures and full descriptions of them (`album`), have a lesson of little but finding what is
named (`looking`), which is short because they can describe, and go on with the album more slowly. Beside the pictures
they always read texts that the decoder knows, in the end as many tokens of them: else it forgets most of its skills.
The weakest come more often.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.data.jsonl import line, whole
from gemwright.errors import UserError
from gemwright.loading import load_model
from gemwright.nn.gemma import Tower
from gemwright.nn.init import initialise_tower
from gemwright.paths import probe
from gemwright.recipes import album, family, looking, naming, neighbours
from gemwright.recipes.common import train_and_export
from gemwright.recipes.curriculum import ROW
from gemwright.recipes.naming import Naming
from gemwright.runlog import RunLog
from gemwright.tasks.split import mixed
from gemwright.train.loop import Outcome, Progress
from gemwright.train.optim import Optim
from gemwright.train.pictures import Pictures
from gemwright.train.run import Run, Step, Watch
from gemwright.train.schedule import Schedule
from gemwright.weights.save import save
from gemwright.weights.side_files import tokenizer_files

PICTURES = 45_000  # nearly as many as the run reads once
EARLY = (1000, 900)  # steps of the lessons before
_EARLY = 3e-3  # the rate of these; after them, as much would undo what was learnt
TEXTS = 90_000  # conversations without pictures
_WEAK = 0.4  # of these: tasks that the model that reads still does badly
WEAK = {
    "instructions/two": 6,
    "instructions/holds": 5,
    "instructions/last": 4,
    "instructions/sort": 4,
    "instructions/reverse": 2,
    "instructions/repeat": 1,
    "instructions/lower": 1,
    "languages/answer_count": 4,
    "languages/between": 2,
    "arithmetic/sign": 3,
    "arithmetic/sort": 3,
    "arithmetic/compare": 2,
    "manipulation/no_vowels": 3,
    "manipulation/initials": 1,
    "manipulation/spell": 1,
}
_SHARE = 0.5  # of the run's tokens: what is said about pictures, and the pictures
_FIRST = (0.75, 0.25)  # of the first lesson's tokens: album, texts
_SECOND = (0.6, 0.2, 0.2)  # of the second's: what it is about; album and texts, else these are forgotten meanwhile
NAMING = Naming(pictures=60_000, plain=4_000, batch=16, rate=3e-3)


def eyes(side: int = 96) -> Vision:
    """A tower of 1.1 million parameters for pictures of `side` pixels (a multiple of 16), in patches of 8; four of them
    are a soft token."""
    encoder = Encoder(image=side, patch=8, width=160, hidden=480, heads=8, depth=4, norm_epsilon=1e-6)
    return Vision(tower=encoder, tokens=(side // 16) ** 2)


def sight(out: str | Path) -> Run:
    """The run in the folder `out`; `pocket` and `curriculum` are beside it. Raises `UserError` where `out` is no
    path."""
    out = probe(out)
    return Run(
        name="sight",
        model=replace(family.pocket(), vision=eyes()),
        start=str(out / "looking" / "model"),
        tokenizer=out.parent / "curriculum" / "tokenizer",
        data=family.data_of((str(out / "album.jsonl"), str(out / "texts.jsonl")), (_SHARE, 1 - _SHARE)),
        step=Step(tokens=4 * ROW, micro=4 * ROW, recompute=False),
        optim=Optim(kind="muon", rate=1e-3, beta1=0.9, beta2=0.95, epsilon=1e-8, decay=0.1, clip=1.0),
        schedule=Schedule(kind="wsd", warmup=30, floor=0.02, decay=0.65),
        steps=2400,
        seed=1,
        compute="bfloat16",
        ema=None,
        chosen="last",
        lora=None,
        distill=None,
        watch=Watch(log=10, evaluate=250, checkpoint=100, keep=2, tensorboard=False),
        out=out,
        pictures=Pictures(tower="tuned", embeddings=None),
    )


def lessons(run: Run, steps: Sequence[int]) -> list[Run]:
    """The two lessons before `run`, of so many steps: the album, from the decoder behind its tower, and look-ups."""
    first, second = run.out / "describing", run.out / "looking"
    describing = replace(
        run,
        name=f"{run.name}, descriptions",
        start=str(run.out / "eyes"),
        data=replace(run.data, weights=_FIRST),
        optim=replace(run.optim, rate=_EARLY),
        schedule=Schedule(kind="wsd", warmup=steps[0] // 20, floor=1.0, decay=0.0),
        steps=steps[0],
        out=first,
    )
    look_ups = replace(
        describing,
        name=f"{run.name}, look-ups",
        start=str(first / "model"),
        data=replace(run.data, sources=(str(second / "album.jsonl"), *run.data.sources), weights=_SECOND),
        schedule=Schedule(kind="wsd", warmup=steps[1] // 20, floor=0.1, decay=0.5),
        steps=steps[1],
        out=second,
    )
    return [describing, look_ups]


def make(
    run: Run,
    *,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[int], bool] | None = None,
    reader: Path | None = None,
    pictures: int = PICTURES,
    early: Sequence[int] = EARLY,
    how: Naming = NAMING,
) -> tuple[Outcome, Path | None]:
    """Draws `pictures`, makes a tower that names what they show, gives it and the decoder two lessons of so
    many steps (`early`), trains `run`, and writes `out/model` (None where it was stopped, with a checkpoint to resume
    from). `reader`: the model that reads; default: `pocket/model` beside `out`. What is there is not made again. Raises
    `UserError` as `train` does, and where `reader` is another model than the run's."""
    assert run.model.vision is not None, "a run that looks at pictures"
    side = run.model.vision.tower.image
    album.prepare(run.out / "album.jsonl", seed=run.seed, count=pictures, side=side)
    _texts(run.tokenizer.parent / "train.jsonl", run.out / "texts.jsonl", run.seed)
    if not (run.out / "eyes").exists():
        _eyes(run, reader or run.out.parent / "pocket" / "model", how)
    watched = {"resume": resume, "progress": progress, "stop": stop}
    for lesson in lessons(run, early):
        if (lesson.out / "model").exists():
            continue
        if lesson.data.sources != run.data.sources:
            looking.prepare(Path(lesson.data.sources[0]), seed=run.seed, steps=lesson.steps, side=side)
        outcome, folder = train_and_export(lesson, sampling={}, converses=True, dtype=torch.float32, **watched)
        if folder is None:
            return outcome, None
    return train_and_export(run, sampling=family.SAMPLING, converses=True, **watched)


def _texts(source: Path, path: Path, seed: int) -> None:
    """The first of the curriculum's conversations, and among them more of what is still done badly."""
    if path.exists():
        return
    weak, choose = mixed(WEAK, "train", seed=seed, count=TEXTS), random.Random(f"sight {seed}")
    try:
        with source.open("rb") as lines, whole([path]) as (file,):
            for one in itertools.islice(lines, round(TEXTS * (1 - _WEAK))):
                file.write(one)
                while choose.random() < _WEAK:
                    file.write(line(next(weak).to_json()))
    except OSError as error:
        hint = "make the model that reads, and its curriculum, with gemwright train pocket"
        raise UserError(f"cannot take texts from {source}: {error.strerror}", hint=hint) from error


def named(run: Run, how: Naming = NAMING) -> Tower:
    """A tower that has learnt to name what lies where; needs no model that reads. `out/naming` keeps it, finished or
    not, and a tower that is there learns on. Raises `UserError` where that is another one."""
    assert run.model.vision is not None, "a run that looks at pictures"
    tower = Tower(run.model.vision, run.model.width)
    initialise_tower(tower, torch.Generator().manual_seed(run.seed))
    neighbours.begin(tower)
    with RunLog(run.out / "naming.jsonl") as log:

        def told(seen: int, loss: float, shares: dict[str, float]) -> None:
            log.write("naming", pictures=seen, loss=loss, right=shares)

        naming.learn(tower, how, run.seed, told, run.out / "naming")
    return tower


def _eyes(run: Run, reader: Path, how: Naming) -> None:
    """`out/eyes`: the decoder of `reader` behind a tower that has learnt to name what lies where."""
    model = load_model(reader, dtype=torch.float32, device="cpu").model
    tower = named(run, how)
    save(model, run.out / "eyes", tower=tower, dtype=torch.float32, extras=tokenizer_files(run.tokenizer))
