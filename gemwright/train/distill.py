"""How a run learns from a teacher, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gemwright.errors import UserError
from gemwright.train.divergence import Divergence
from gemwright.train.draw import Wording
from gemwright.train.shard import MOST

_SEEDS = 2**63


@dataclass(frozen=True, kw_only=True)
class Distill:
    """`teacher`: a folder or name of a model that runs beside the student; or `store`: the folder of what one drew.

    `kind`: the loss against ids `sampled` from the teacher, against its `full` distribution, or against its `top`
    tokens and all others as one. `samples`: how many are drawn, or are at the top. `wording`: what the drawn ids count,
    see `Samples.shares`; `seed`: of the draws. `divergence`, and `beta` of "js": see `divergence`; sampled ids know the
    forward one only, as cross-entropy. `temperature`: of both sides' predictions. `share`: of this loss; the rest is
    the plain one, against the text. `z`: of the z-loss, on the normalisers that this loss sees.
    """

    teacher: str | None
    store: str | None
    kind: Literal["sampled", "full", "top"]
    wording: Wording
    samples: int
    seed: int
    divergence: Divergence
    beta: float
    temperature: float
    share: float
    z: float


# How Gemma 3 was trained (Gemma 3 report, "Distillation"); a teacher or a store is still to be named.
REPORTED = Distill(
    teacher=None,
    store=None,
    kind="sampled",
    wording="report",
    samples=256,
    seed=1,
    divergence="forward",
    beta=0.5,
    temperature=1.0,
    share=1.0,
    z=0.0,
)


def check(distill: Distill) -> Distill:
    """The settings themselves; raises `UserError` naming the first field whose value makes no sense."""
    live, sampled = distill.teacher is not None, distill.kind == "sampled"
    within = {
        "teacher": (live != (distill.store is not None), "give a teacher or a store of its draws, one of the two"),
        "store": (live or sampled, f"a store holds samples: kind={distill.kind} needs distill.teacher, a live one"),
        "divergence": (distill.divergence == "forward" or not sampled, "sampled ids know the forward one; kind=full"),
        "samples": (0 < distill.samples <= (MOST if sampled else 1 << 24), f"1 to {MOST} draws"),
        "seed": (0 <= distill.seed < _SEEDS, f"0 to {_SEEDS - 1}"),
        "beta": (0 < distill.beta < 1, "more than 0, less than 1"),
        "temperature": (distill.temperature > 0, "more than 0; 1 leaves the predictions as they are"),
        "share": (0 < distill.share <= 1, "more than 0, at most 1; for the plain loss alone, distil nothing"),
        "z": (distill.z >= 0, "0 or more"),
    }
    for name, (fits, hint) in within.items():
        if not fits:
            raise UserError(f"distill.{name} cannot be {getattr(distill, name)}", hint=hint)
    return distill
