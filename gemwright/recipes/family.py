"""The pocket family: a teacher, a Gemma 3, a Gemma 2 and a RecurrentGemma that read the same curriculum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from gemwright.arch.gemma2 import gemma2
from gemwright.arch.recurrentgemma import recurrentgemma
from gemwright.arch.spec import Model
from gemwright.data import python_text
from gemwright.data.documents import PYTHON
from gemwright.paths import probe
from gemwright.recipes import curriculum
from gemwright.recipes.common import WINDOW, small_gemma3, train_and_export
from gemwright.recipes.curriculum import ROW, VOCAB
from gemwright.train.loop import Outcome, Progress
from gemwright.train.optim import Optim
from gemwright.train.run import Data, Run, Step, Watch
from gemwright.train.schedule import Schedule

CONTEXT = 2048
SAMPLING = {"do_sample": True, "temperature": 0.3, "top_k": 40, "top_p": 0.95}

gemma3_of = partial(small_gemma3, vocab=VOCAB, context=CONTEXT)


def teacher() -> Model:
    """A Gemma 3 of 21 million parameters."""
    return gemma3_of("pocket-teacher", width=384, depth=12, heads=6, kv_heads=2, head_dim=64, hidden=1024)


def pocket() -> Model:
    """A Gemma 3 of 5.8 million parameters."""
    return gemma3_of("pocket", width=192, depth=12, heads=4, kv_heads=1, head_dim=48, hidden=512)


def sibling() -> Model:
    """A Gemma 3 of 1.8 million parameters, small enough to be trained many times."""
    return gemma3_of("pocket-sibling", width=128, depth=6, heads=4, kv_heads=1, head_dim=32, hidden=320)


def pocket_gemma2() -> Model:
    """The pocket model as a Gemma 2: local and global layers in turn, soft caps, no QK-norm."""
    return gemma2(
        name="pocket-gemma2",
        width=192,
        depth=12,
        heads=4,
        kv_heads=1,
        head_dim=48,
        hidden=512,
        vocab=VOCAB,
        context=CONTEXT,
        window=WINDOW,
        pattern=2,
        query_scalar=48.0,
        attention_cap=50.0,
        final_cap=30.0,
        rope_base=10_000.0,
        norm_epsilon=1e-6,
    )


def pocket_recurrent() -> Model:
    """The pocket model as a RecurrentGemma: two recurrent layers to one of local attention."""
    return recurrentgemma(
        name="pocket-recurrent",
        width=192,
        depth=12,
        recurrent_width=192,
        conv=4,
        heads=4,
        kv_heads=1,
        head_dim=48,
        hidden=480,
        vocab=VOCAB,
        context=None,
        window=WINDOW,
        window_edge="inside",
        rope_base=10_000.0,
        rope_share=0.5,
        blocks=("recurrent", "recurrent", "attention"),
        gate_blocks=4,
        embed_scale=True,
        final_cap=30.0,
        norm_epsilon=1e-6,
    )


def run_of(name: str, model: Model, out: str | Path, *, steps: int, rate: float) -> Run:
    """The run that trains a member in the folder `out`; the curriculum is `curriculum` beside it. It is the last of the
    lessons: what comes before is `earlier`. Raises `UserError` where `out` is no path."""
    out = probe(out)
    shared, last = out.parent / "curriculum", curriculum.LESSONS[-1]
    return Run(
        name=name,
        model=model,
        start=str(lessons(out)),
        tokenizer=shared / "tokenizer",
        data=_data(shared, last),
        step=Step(tokens=last.tokens, micro=last.tokens, recompute=False),
        optim=Optim(kind="muon", rate=rate, beta1=0.9, beta2=0.95, epsilon=1e-8, decay=0.1, clip=1.0),
        schedule=Schedule(kind="wsd", warmup=50, floor=0.02, decay=0.4),
        steps=steps,
        seed=1,
        compute="bfloat16",
        ema=None,
        chosen="last",
        lora=None,
        distill=None,
        watch=Watch(log=10, evaluate=500, checkpoint=100, keep=2, tensorboard=False),
        out=out,
    )


def earlier(run: Run) -> list[Run]:
    """The lessons before `run`, each in a folder of its own beside the one that `run` starts from (`out/lessons`, if
    nobody chose another); each goes on from the one before it."""
    assert run.start is not None, "a run that goes on from its lessons"
    shared, start = Path(run.start).parents[1], None
    stages: list[Run] = []
    for lesson in curriculum.LESSONS[:-1]:
        assert lesson.steps is not None, "the last lesson alone is as long as its run"
        out = shared / lesson.name
        stages.append(
            replace(
                run,
                name=f"{run.name}, {lesson.name} lesson",
                start=start,
                data=replace(
                    _data(run.tokenizer.parent, lesson),
                    row=min(lesson.tokens, run.data.row),
                    held_out=run.data.held_out,
                ),
                step=replace(run.step, tokens=lesson.tokens, micro=lesson.tokens),
                schedule=Schedule(kind="wsd", warmup=lesson.steps // 10, floor=0.3, decay=0.1),
                steps=lesson.steps,
                distill=None,
                out=out,
            )
        )
        start = str(out / "model")
    return stages


def lessons(out: Path) -> Path:
    """The folder of the model that has had all lessons before the last, of a run in the folder `out`."""
    return out / "lessons" / curriculum.LESSONS[-2].name / "model"


def _data(shared: Path, lesson: curriculum.Lesson) -> Data:
    source = str(curriculum.path(shared, lesson))
    if not lesson.python:
        return data_of((source,), ())
    return data_of((source, PYTHON), (1 - lesson.python, lesson.python))


def data_of(sources: tuple[str, ...], weights: tuple[float, ...]) -> Data:
    """What a member of the family reads, in rows that hold the longest conversation."""
    return Data(
        sources=sources, weights=weights, epochs=None, field="text", bad="stop", held_out=python_text.HELD_OUT, row=ROW
    )


def make(
    run: Run,
    *,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[int], bool] | None = None,
) -> tuple[Outcome, Path | None]:
    """Draws the curriculum if it is not there, gives a fresh model its lessons, `run` itself the last of them, and
    writes the folder `out/model` (None where it was stopped, with a checkpoint to resume from). Raises `UserError` as
    `train` does."""
    curriculum.prepare(run.tokenizer.parent)
    facts = {"curriculum": curriculum.request(run.tokenizer.parent)}
    watched = {"facts": facts, "resume": resume, "progress": progress, "stop": stop}
    for lesson in earlier(run):
        if not (lesson.out / "model").exists():
            outcome, folder = train_and_export(lesson, sampling={}, converses=True, dtype=torch.float32, **watched)
            if folder is None:
                return outcome, None
    return train_and_export(run, sampling=SAMPLING, converses=True, **watched)
