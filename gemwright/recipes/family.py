"""The pocket family: a teacher, a Gemma 3, a Gemma 2 and a RecurrentGemma that read the same curriculum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch

from gemwright.arch.gemma2 import gemma2
from gemwright.arch.recurrentgemma import recurrentgemma
from gemwright.arch.spec import Attention, Layer, Model
from gemwright.data.documents import PYTHON
from gemwright.paths import probe
from gemwright.recipes import curriculum
from gemwright.recipes.common import WINDOW, results, small_gemma3, train_and_export
from gemwright.recipes.curriculum import COPYING_TOKENS, ROW, VOCAB
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
    """The run that trains a member in the folder `out`; the curriculum is `curriculum` beside it. It starts from what
    `copying` leaves. Raises `UserError` where `out` is no path."""
    out = probe(out)
    shared = out.parent / "curriculum"
    return Run(
        name=name,
        model=model,
        start=str(out / "copying" / str(len(curriculum.COPYING) - 1) / "model"),
        tokenizer=shared / "tokenizer",
        data=Data(
            sources=(
                str(shared / "train.jsonl"),
                PYTHON,
                str(curriculum.copies_path(shared, len(curriculum.COPYING) - 1)),
            ),
            weights=(0.84, 0.06, 0.1),  # what is no longer read is forgotten: copying, too
            epochs=None,
            field="text",
            bad="stop",
            held_out=0.005,
            row=ROW,
        ),
        step=Step(tokens=4 * ROW, micro=4 * ROW, recompute=False),
        optim=Optim(rate=rate, beta1=0.9, beta2=0.95, epsilon=1e-8, decay=0.1, clip=1.0),
        schedule=Schedule(kind="wsd", warmup=100, floor=0.05, decay=0.3),
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


def copying(run: Run) -> list[Run]:
    """The stages before `run`, each in a folder of its own in `out/copying`; each goes on from the one before it."""
    shared, stages, start = run.tokenizer.parent, [], None
    for number, stage in enumerate(curriculum.COPYING):
        out = run.out / "copying" / str(number)
        stages.append(
            replace(
                run,
                name=f"{run.name}, copying {number + 1} of {len(curriculum.COPYING)}",
                model=seeing(run.model, stage.window),
                start=start,
                data=replace(run.data, sources=(str(curriculum.copies_path(shared, number)),), weights=()),
                step=replace(run.step, tokens=COPYING_TOKENS, micro=COPYING_TOKENS),
                optim=replace(run.optim, rate=stage.rate),
                schedule=Schedule(kind="wsd", warmup=stage.steps // 10, floor=0.3, decay=0.1),
                steps=stage.steps,
                distill=None,
                out=out,
            )
        )
        start = str(out / "model")
    return stages


def seeing(model: Model, window: int) -> Model:
    """The model with another window in its local layers; its weights have the same shapes."""

    def changed(layer: Layer) -> Layer:
        mixer = layer.mixer
        local = isinstance(mixer, Attention) and mixer.window is not None
        return replace(layer, mixer=replace(mixer, window=window)) if local else layer

    return replace(model, layers=tuple(changed(layer) for layer in model.layers))


def make(
    run: Run,
    *,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[int], bool] | None = None,
) -> tuple[Outcome, Path | None]:
    """Draws the curriculum if it is not there, trains a fresh model to copy, then `run` itself, and writes the folder
    `out/model` (None where it was stopped, with a checkpoint to resume from). Raises `UserError` as `train` does."""
    curriculum.prepare(run.tokenizer.parent)
    watched = {"facts": results, "resume": resume, "progress": progress, "stop": stop}
    stages = [*copying(run), run]
    # What a stage hands on states the windows of the stage that goes on from it.
    for stage, following in pairwise(stages):
        if not (stage.out / "model").exists():
            outcome, folder = train_and_export(
                stage, shape=following.model, sampling={}, converses=False, dtype=torch.float32, **watched
            )
            if folder is None:
                return outcome, None
    return train_and_export(run, sampling=SAMPLING, converses=True, **watched)
