"""What is left of a step that went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from gemwright.data.batch import Batch
from gemwright.errors import UserError


def diverged(out: Path, step: int, batches: Sequence[Batch], loss: float, norm: float) -> UserError:
    """The error of a step whose `loss` or gradient `norm` is not finite; its batches are saved in `out`."""
    path = out / f"not-finite-step-{step:08d}.safetensors"
    tensors = {}
    for number, batch in enumerate(batches):
        tensors |= {
            f"{number}.ids": batch.ids,
            f"{number}.targets": batch.targets,
            f"{number}.weight": batch.weight,
            f"{number}.starts": batch.span.tensors.starts,
        }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path)
        where = f"are in {path}"
    except (OSError, SafetensorError) as error:
        where = f"could not be saved in {path}: {error}"
    return UserError(
        f"step {step} has a loss of {loss} and a gradient norm of {norm}; its batches {where}",
        hint="look at the batches, or begin a new run with a lower optim.rate",
    )
