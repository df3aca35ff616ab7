"""A training plan counts what training does: its numbers, its operations, its memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gemwright.arch.presets import preset
from gemwright.arch.spec import Model
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.ops.span import span
from gemwright.planner.training import Shape, flops, plan_training
from gemwright.planner.training_memory import numbers

SMALL: dict[str, dict[str, Any]] = {
    "gemma-3-270m": {"depth": 6, "width": 64, "heads": 2, "hidden": 128, "vocab": 512, "window": 16},
    "gemma-2-2b": {"depth": 2, "width": 64, "heads": 2, "kv_heads": 1, "hidden": 128, "vocab": 512, "window": 16},
    "recurrentgemma-2b": {"depth": 3, "width": 64, "recurrent_width": 64, "heads": 2, "gate_blocks": 2, "hidden": 96}
    | {"vocab": 512, "window": 16},
}
SHAPE = Shape(
    row=64, micro=128, step=256, steps=10, compute=torch.float32, recompute=False, average=False, moments=1000
)  # two micro-batches of two rows


def spec_of(name: str) -> Model:
    return preset(name, **SMALL[name])


@pytest.mark.parametrize("name", SMALL)
def test_numbers_are_those_of_the_model(name: str) -> None:
    model = Decoder(spec_of(name))
    counted = numbers(model.spec)
    assert counted.table == 512 * 64
    assert counted.table + counted.body == sum(parameter.numel() for parameter in model.parameters())
    assert counted.matrices < counted.body < counted.matrices * 1.2


@pytest.mark.parametrize("name", ["gemma-3-270m", "gemma-2-2b"])
def test_operations_of_matrices_and_head_are_those_that_torch_counts_in_a_step(name: str) -> None:
    model = Decoder(spec_of(name))
    initialise(model, torch.Generator().manual_seed(0))
    ids, ones = torch.zeros(128, dtype=torch.int64), torch.ones(128)
    with FlopCounterMode(display=False) as counter:
        model(ids, span([64, 64]), use=lambda hidden, head: head.cross_entropy(hidden, ids, ones)).backward()
    counted = counter.get_flop_counts()["Global"]  # attention's products are bmm, or none that it knows
    told = flops(model.spec, replace(SHAPE, step=128))
    in_place = 2 * 512 * 64 * 128  # the table's gradient, by addmm_, which it does not know
    assert counted[torch.ops.aten.mm] + in_place == told["matrices"] + told["head"]


def test_attention_counts_the_pairs_that_see_each_other() -> None:
    seen = 64 * 65 // 2 + (16 * 17 // 2 + 48 * 16)  # of a row: one global layer, one local
    assert flops(spec_of("gemma-2-2b"), SHAPE)["attention"] == 12 * 2 * 256 * seen * 4


def test_recompute_adds_a_third_of_the_blocks() -> None:
    spec = spec_of("gemma-3-270m")
    plain, again = flops(spec, SHAPE), flops(spec, replace(SHAPE, recompute=True))
    assert plain["again"] == 0 and again["again"] == (plain["matrices"] + plain["attention"]) // 3
    assert plain["head"] == again["head"] == 6 * 512 * 64 * 256


def test_a_run_is_all_of_its_steps() -> None:
    plan = plan_training(spec_of("gemma-3-270m"), SHAPE)
    assert plan.tokens == 2560 and plan.total_flops == 10 * plan.step_flops == plan.to_json()["flops"]
    assert sum(count for name, count in plan.memory.to_json().items() if name != "total") == plan.memory.total


@pytest.mark.parametrize("name", SMALL)
def test_what_is_held_follows_from_the_settings(name: str) -> None:
    def held(**changes: Any) -> Any:
        return plan_training(spec_of(name), replace(SHAPE, **changes)).memory

    plain = held()
    assert plain.weights == plain.gradients and plain.average == plain.copies == 0
    assert plain.moments == 4 * SHAPE.moments
    assert held(average=True).average == plain.weights
    half = held(compute=torch.bfloat16)
    matrices = numbers(spec_of(name)).matrices
    assert 0.9 * 2 * matrices <= half.copies <= 1.02 * 2 * matrices and half.activations < plain.activations
    again = held(recompute=True)
    assert again.activations < plain.activations / 3 and again.total < plain.total
    assert held(micro=64).activations == pytest.approx(plain.activations / 2, rel=0.05)


def test_a_step_in_one_micro_batch_lets_gradients_take_the_room_of_activations() -> None:
    several, one = (plan_training(spec_of("gemma-3-270m"), replace(SHAPE, step=step)).memory for step in (256, 128))
    assert several.gradients == several.weights > one.gradients and several.activations == one.activations


REAL = """
from gemwright.planner.measure import PeakMemory, baseline
start = baseline()

import torch
torch.set_num_threads(1)
from gemwright.arch.presets import preset
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.ops.span import span
from gemwright.train import optim

spec = preset("gemma-3-270m", depth=3, vocab=16384, width=512, hidden=1024)
with PeakMemory(start) as memory:
    model = Decoder(spec)
    initialise(model, torch.Generator().manual_seed(0))
    settings = optim.Optim(kind="adamw", rate=1e-3, beta1=0.9, beta2=0.95, epsilon=1e-8, decay=0.1, clip=1.0)
    optimizer = optim.build(model.train(), settings)
    ids = torch.zeros(512, dtype=torch.int64)
    for _ in range(2):
        optimizer.zero_grad()
        for _ in range(2):
            score = lambda hidden, head: head.cross_entropy(hidden, ids, torch.ones(512))
            model(ids, span([512]), use=score).backward()
        optim.divide_and_clip(model.parameters(), 1024.0, 1.0)
        optimizer.step()

from gemwright.planner.training import Shape, plan_training
size = dict(row=512, micro=512, step=1024, steps=2, moments=optim.kept(model, settings))
shape = Shape(**size, compute=torch.float32, recompute=False, average=False)
print(memory.peak, plan_training(spec, shape).memory.total)
"""


def test_the_plan_is_the_measured_peak() -> None:
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, timeout=150, check=True)
    peak, planned = map(int, done.stdout.split())
    assert planned > 300 << 20
    assert abs(planned - peak) <= max(0.1 * planned, 32 << 20)
