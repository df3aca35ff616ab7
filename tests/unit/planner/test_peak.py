"""A plan beside the peak of a real run, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

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


def test_the_plan_is_the_measured_peak() -> None:
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, timeout=120, check=True)
    peak, planned = map(int, done.stdout.split())
    assert abs(planned - peak) <= max(0.05 * planned, 32 << 20)
    assert planned > 280 << 20  # a second copy of the weights would be seen
