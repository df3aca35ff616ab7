"""What recipes that begin from nothing share: the shape of a small Gemma 3, how its vocabulary is trained, and the
folder that a run ends in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from gemwright.arch.gemma3 import gemma3
from gemwright.arch.spec import Model
from gemwright.data import python_text
from gemwright.data.documents import PYTHON
from gemwright.loading import load_tower
from gemwright.nn.gemma import Tower
from gemwright.text.train import train_tokenizer
from gemwright.train.corpus import trained
from gemwright.train.export import export
from gemwright.train.loop import Outcome, Progress, train
from gemwright.train.run import Run

WINDOW = 128


def small_gemma3(
    name: str,
    *,
    width: int,
    depth: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    hidden: int,
    vocab: int,
    context: int,
) -> Model:
    """A Gemma 3 for text whose every sixth layer is global and whose other layers see `WINDOW` tokens."""
    return gemma3(
        name=name,
        width=width,
        depth=depth,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        hidden=hidden,
        vocab=vocab,
        context=context,
        window=WINDOW,
        pattern=6,
        query_scalar=float(head_dim),
        local_base=10_000.0,
        global_base=1_000_000.0,
        global_factor=1.0,
        attention_cap=None,
        final_cap=None,
        norm_epsilon=1e-6,
        vision=None,
    )


def train_vocabulary(texts: Iterable[str], vocab: int, folder: Path, *, overwrite: bool) -> None:
    """Trains a tokenizer of `vocab` pieces on texts, one after the other, and writes it into `folder`. Raises
    `UserError` where that holds one already, unless `overwrite`."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "text.txt"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(texts)
        train_tokenizer([path], vocab, folder, family="gemma3", overwrite=overwrite)


def train_and_export(
    run: Run,
    *,
    sampling: Mapping[str, Any],
    converses: bool,
    facts: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.bfloat16,
    resume: bool,
    progress: Callable[[Progress], None] | None,
    stop: Callable[[int], bool] | None,
) -> tuple[Outcome, Path | None]:
    """Trains, and writes the folder `out/model` with `results` and `facts` as its `recipe.json` (None where the run was
    stopped, with a checkpoint to resume from). A model with pictures keeps its tower. Raises `UserError` as `train`
    does."""
    outcome = train(run, resume=resume, progress=progress, stop=stop)
    if not outcome.finished:
        return outcome, None
    folder = export(
        outcome.model,
        run.tokenizer,
        run.out / "model",
        tower=tower_of(run, outcome),
        dtype=dtype,
        sampling=sampling,
        documents={"recipe.json": {"recipe": run.name, **results(run, outcome), **(facts or {}), **_settings(run)}},
        converses=converses,
        overwrite=resume,
    )
    return outcome, folder


def tower_of(run: Run, outcome: Outcome) -> Tower | None:
    """The tower that belongs to what a run made: the one that it tuned, or that of its start, which stood still; None
    where there is none. Raises `UserError` where that of the start cannot be read."""
    if outcome.tower is not None or run.start is None or run.model.vision is None:
        return outcome.tower
    return load_tower(run.start, device="cpu")


def results(run: Run, outcome: Outcome) -> dict[str, Any]:
    """What a run read and what came of it, to stand beside the weights; sources by their names alone."""
    files = [file.meta for file in trained(run.data, run.out / "tokens")]
    tokens = sum(file.targets for file in files)
    python = {"python": {"version": python_text.version(), "license": "PSF-2.0"}}
    return {
        "text": [Path(source).name for source in run.data.sources],
        **(python if PYTHON in run.data.sources else {}),
        "torch": torch.__version__,
        "parameters": sum(parameter.numel() for parameter in outcome.model.parameters()),
        "steps": outcome.step,
        "targets": round(outcome.targets),
        "epochs": round(outcome.targets / tokens, 2),
        "train": {
            "sha256": [file.digest for file in files],
            "documents": sum(file.documents for file in files),
            "bytes": sum(file.bytes for file in files),
            "tokens": tokens,
        },
        "held_out": asdict(outcome.held_out) if outcome.held_out else None,
    }


def _settings(run: Run) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "optim": asdict(run.optim),
        "schedule": asdict(run.schedule),
        "step": asdict(run.step),
        "compute": run.compute,
    }
