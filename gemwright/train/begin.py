"""What a run begins with: its model, and the objective that a teacher gives it."""

from __future__ import annotations

import torch

from gemwright.errors import UserError
from gemwright.loading import attach_lora, load_model
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.text.tokenizer import Tokenizer
from gemwright.train.distillation import objective_of
from gemwright.train.objective import Objective
from gemwright.train.run import Run


def build(run: Run, generator: torch.Generator, device: torch.device, *, fresh: bool) -> Decoder:
    """The model of `run` on `device`, ready to be trained, in float32: with the weights of `run.start`, or drawn from
    `generator`. Where the run is not `fresh`, a checkpoint brings all weights that are trained, and `run.start` is read
    only for what an adapter stands on.

    Raises `UserError` where `run.start` is another model than the run's.
    """
    if run.start is None or (not fresh and run.lora is None):
        with device:
            model = Decoder(run.model)
        initialise(model, generator)
    else:
        # What an adapter stands on is not trained, and stays as its file has it.
        model = load_model(run.start, dtype=torch.float32 if run.lora is None else "auto", device=device).model
        wanted, found = vars(run.model), vars(model.spec)
        if differing := [name for name, value in wanted.items() if name != "name" and found[name] != value]:
            raise UserError(
                f"{run.start} is not the model of this run: they differ in {', '.join(differing)}",
                hint="give the model of the run the shape of the one that it starts from",
            )
    if run.lora is not None:
        attach_lora(model, run.lora, generator)
    model.recompute = run.step.recompute
    return model.train()


def taught(run: Run, tokenizer: Tokenizer, source: str, device: torch.device | str) -> Objective:
    """The objective that `run.distill` describes, on rows that come from `source`. Raises `UserError` for a teacher or
    a store that does not fit the run."""
    assert run.distill is not None
    return objective_of(
        run.distill,
        tokenizer=tokenizer,
        source=source,
        row=run.data.row,
        rows=run.steps * run.rows,
        vocab=run.model.vocab,
        device=device,
    )
