"""What a training run takes, before it begins: numbers that are trained, arithmetic, memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from gemwright.arch.spec import Attention, Model
from gemwright.planner.training_memory import Held, held, numbers


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How a model is trained. `row`, `micro`, `step`: tokens of a packed row, of a micro-batch and of a step of the
    optimiser; `steps` of it; `compute`: the dtype of the products; `average`: are weights averaged? `moments`: numbers
    that the optimiser remembers."""

    row: int
    micro: int
    step: int
    steps: int
    compute: torch.dtype
    recompute: bool
    average: bool
    moments: int

    @property
    def rows(self) -> int:
        """Rows of a step."""
        return max(self.step // self.row, 1)

    @property
    def micro_rows(self) -> int:
        """Rows of a micro-batch."""
        return min(self.micro // self.row, self.rows)

    @property
    def tokens(self) -> int:
        """Tokens of a step, in whole and full rows."""
        return self.rows * self.row


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What a run takes at most: rows are counted as full, each with one document.

    `table`, `body`: parameters of the tied table, and all others; `tokens`: of all steps. `flops`: floating-point
    operations of a step, by what they are for (see `flops`). `memory`: bytes, see `Held`.
    """

    name: str
    table: int
    body: int
    steps: int
    tokens: int
    flops: dict[str, int]
    memory: Held

    @property
    def step_flops(self) -> int:
        """Operations of a step."""
        return sum(self.flops.values())

    @property
    def total_flops(self) -> int:
        """Operations of the run."""
        return self.steps * self.step_flops

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        counts = {"parameters": {"total": self.table + self.body, "table": self.table, "body": self.body}}
        work = {"steps": self.steps, "tokens": self.tokens, "flops_of_a_step": self.flops, "flops": self.total_flops}
        return {"name": self.name, **counts, **work, "memory": self.memory.to_json()}


def plan_training(spec: Model, shape: Shape) -> TrainingPlan:
    """Counts a run on the real model, of which nothing is allocated and nothing computed."""
    counted = numbers(spec)
    return TrainingPlan(
        name=spec.name,
        table=counted.table,
        body=counted.body,
        steps=shape.steps,
        tokens=shape.steps * shape.tokens,
        flops=flops(spec, shape),
        memory=held(
            spec,
            rows=shape.micro_rows,
            row=shape.row,
            accumulates=shape.rows > shape.micro_rows,
            compute=shape.compute,
            recompute=shape.recompute,
            average=shape.average,
            moments=shape.moments,
        ),
    )


def flops(spec: Model, shape: Shape) -> dict[str, int]:
    """Floating-point operations of a step of T tokens; a product and a sum count as two.

    `matrices`: 6 N T, with N the numbers in the matrices of the blocks: 2 forward, 4 for the two gradients.
    `attention`: 12 H K for each pair of a query and a key that it may see, in rows of one document each: scores and
    their use, 2 H K each, and twice that for gradients. `head`: 6 V D T. `again`: with `recompute`, the forward pass
    of the blocks once more. Norms, RoPE, softmax, the scan and the optimiser are left out: none of them multiplies
    matrices.
    """
    counted, tokens = numbers(spec), shape.tokens
    pairs = sum(
        layer.mixer.heads * layer.mixer.head_dim * _pairs(shape.row, layer.mixer.window)
        for layer in spec.layers
        if isinstance(layer.mixer, Attention)
    )
    matrices, attention = 6 * counted.matrices * tokens, 12 * pairs * shape.rows
    again = (matrices + attention) // 3 if shape.recompute else 0
    return {"matrices": matrices, "attention": attention, "head": 6 * counted.table * tokens, "again": again}


def _pairs(row: int, window: int | None) -> int:
    """Pairs of a query and a key that it sees, in a document of `row` tokens."""
    whole = min(row, window or row)
    return whole * (whole + 1) // 2 + (row - whole) * whole
