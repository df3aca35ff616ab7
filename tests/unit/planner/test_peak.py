"""A plan beside the peak of a real run, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.loading import attach_lora, load_model, save_lora
from gemwright.lora import Lora
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.planner.fit import plan
from gemwright.weights.save import save

RUN = """
from gemwright.planner.measure import PeakMemory, baseline
start = baseline()

import torch
torch.set_num_threads(1)
from gemwright.arch.presets import preset
from gemwright.cache.allocate import allocate
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise

spec = preset("gemma-3-270m", depth=6, vocab=65536)
with PeakMemory(start) as memory:
    model = Decoder(spec)
    initialise(model, torch.Generator().manual_seed(0))
    cache = allocate(spec, sequences=1, tokens=1024, dtype=torch.float32)
    handle = cache.open()
    for _ in range(2):
        step = cache.prepare([handle], [512])
        model(torch.zeros(512, dtype=torch.int64), step.span, step, lambda hidden, head: head.logits(hidden[-1:]))
        step.commit()

from gemwright.planner.fit import plan
print(memory.peak, plan(spec, context=1024, dtype="float32").total)
"""

LOADED = """
import sys
from gemwright.planner.measure import PeakMemory, baseline
start = baseline()

import torch
torch.set_num_threads(1)
import gemwright
from gemwright.cache.allocate import allocate

folder, quant, int8 = sys.argv[1], sys.argv[2] or None, len(sys.argv) > 3
with PeakMemory(start) as memory:
    model = gemwright.load(folder, quant=quant).model
    cache = allocate(model.spec, sequences=1, tokens=1024, dtype=model.dtype, int8=int8)
    handle = cache.open()
    for _ in range(2):
        step = cache.prepare([handle], [512])
        model(torch.zeros(512, dtype=torch.int64), step.span, step, lambda hidden, head: head.logits(hidden[-1:]))
        step.commit()

print(memory.peak, gemwright.plan(folder, context=1024, quant=quant, int8_cache=int8).total)
"""


BESIDE = """
import json, sys
from gemwright.planner.measure import PeakMemory, baseline
start = baseline()

import torch
torch.set_num_threads(1)
import gemwright
from gemwright.engine.request import Request, Sampling

folder, more = sys.argv[1], json.loads(sys.argv[2])
name = next(iter(more.get("adapters", {})), None)
with PeakMemory(start) as memory:
    lm = gemwright.load(folder, context=1024, sequences=1, **more)
    request = Request(ids=(2, *range(700, 1690)), sampling=Sampling(temperature=0, max_tokens=24), adapter=name)
    lm.engine.generate(request)

print(memory.peak, gemwright.plan(folder, context=1024, **more).total)
"""


def measured(code: str, *words: str) -> tuple[int, int]:
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    peak, planned = map(int, done.stdout.split())
    return peak, planned


def tolerance(planned: int) -> float:
    return max(0.05 * planned, 32 << 20)


def test_the_plan_is_the_measured_peak() -> None:
    peak, planned = measured(RUN)
    assert abs(planned - peak) <= tolerance(planned)
    assert planned > 280 << 20  # a second copy of the weights would be seen


@pytest.fixture(scope="module")
def middling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of 157 MB in bfloat16."""
    model = Decoder(preset("gemma-3-270m", depth=6, vocab=65536)).bfloat16()
    initialise(model, torch.Generator().manual_seed(0))
    return save(model, tmp_path_factory.mktemp("peak") / "middling")


@pytest.mark.parametrize("quant", ["", "q8_0", "q4_0", "sfp8"])
def test_the_plan_of_a_packed_model_is_the_measured_peak(middling: Path, quant: str) -> None:
    peak, planned = measured(LOADED, str(middling), quant)
    print(quant, peak / 1e6, planned / 1e6)
    assert abs(planned - peak) <= tolerance(planned)


@pytest.mark.parametrize("quant", ["", "q8_0", "q4_0"])
def test_the_plan_of_the_embedded_model_is_the_measured_peak(quant: str) -> None:
    peak, planned = measured(LOADED, "pocket", quant)
    print(quant, peak / 1e6, planned / 1e6)
    assert abs(planned - peak) <= tolerance(planned)


@pytest.mark.parametrize("beside", ["adapters", "draft"])
def test_the_plan_of_what_stands_beside_a_model_is_the_measured_peak(
    middling: Path, beside: str, tmp_path: Path
) -> None:
    """An adapter of 81 MB, a draft of 157 MB."""
    more: dict[str, object] = {"draft": str(middling)}
    if beside == "adapters":
        model, generator = load_model(middling).model, torch.Generator().manual_seed(0)
        attach_lora(model, Lora(rank=256, alpha=8.0, targets=("all-linear",), dropout=0.0, rslora=False), generator)
        more = {"adapters": {"large": str(save_lora(model, tmp_path / "large"))}}
    peak, planned = measured(BESIDE, str(middling), json.dumps(more))
    assert abs(planned - peak) <= tolerance(planned)
    assert planned - plan(middling, context=1024).total > 75 << 20


def test_the_plan_of_an_int8_cache_is_the_measured_peak() -> None:
    peak, planned = measured(LOADED, "pocket", "q8_0", "int8")
    assert abs(planned - peak) <= tolerance(planned)
