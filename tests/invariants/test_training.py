"""However a step is cut, kept or interrupted, the same weights come out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lives
import pytest
import small
import torch
from equivalence import LOGITS, equivalence, off, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gemwright.data.batch import Batch
from gemwright.ops.span import span
from gemwright.runlog import read
from gemwright.train import state
from gemwright.train.loop import train
from gemwright.train.next_token import next_token
from gemwright.train.run import Run

FEW = settings(max_examples=max(8, settings.default.max_examples // 2))
names = st.sampled_from(small.NAMES)
seeds = st.integers(0, 1000)
HERE = Path(__file__).parent


def batch(*texts: Tensor) -> Batch:
    """Documents, each predicted token by token."""
    ids = torch.cat([text[:-1] for text in texts])
    targets = torch.cat([text[1:] for text in texts])
    lengths = [len(text) - 1 for text in texts]
    return Batch(ids=ids, targets=targets, weight=torch.ones(len(ids)), span=span(lengths), rows=())


def gradients(name: str, batches: Sequence[Batch], *, recompute: bool = False, bfloat16: bool = False) -> list[Tensor]:
    """The sum of the batches' losses, and the gradient of each parameter."""
    model = small.awake(small.SPECS[name])
    model.recompute = recompute
    total = torch.zeros(())
    for one in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = next_token(model, one)
        loss.total.backward()
        total += loss.total.detach()
    return [total, *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]


@equivalence("one micro-batch of four rows = four of one, in loss and gradients", "round")
@FEW
@given(name=names, seed=seeds, lengths=st.lists(st.integers(8, 60), min_size=4, max_size=4))
def test_micro_batches(name: str, seed: int, lengths: list[int]) -> None:
    texts = [small.text(seed + index, length) for index, length in enumerate(lengths)]
    one, four = gradients(name, [batch(*texts)]), gradients(name, [batch(text) for text in texts])
    for some, other in zip(one, four, strict=True):
        assert off(some.reshape(-1), other.reshape(-1)) <= 3 * LOGITS  # sums over all rows, in another order


@equivalence("blocks that are run again for the gradient = blocks that keep all they need", "bit")
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("name", small.NAMES)
def test_recompute(name: str, bfloat16: bool) -> None:
    rows = [batch(small.text(1, 70), small.text(2, 9)), batch(small.text(3, 300))]
    plain, again = (gradients(name, rows, recompute=recompute, bfloat16=bfloat16) for recompute in (False, True))
    for some, other in zip(again, plain, strict=True):
        assert same_bits(some, other)


@equivalence("a document that is not learnt from changes no gradient of its neighbours", "bit")
@FEW
@given(name=names, seed=seeds, lengths=st.lists(st.integers(2, 40), min_size=2, max_size=4), data=st.data())
def test_neighbours_gradients(name: str, seed: int, lengths: list[int], data: st.DataObject) -> None:
    """The loss is taken on all documents but one, and that one is changed: no gradient moves, of any parameter."""
    silent = data.draw(st.integers(0, len(lengths) - 1))
    texts = [small.text(seed + index, length) for index, length in enumerate(lengths)]
    weight = torch.cat([torch.full((n - 1,), float(index != silent)) for index, n in enumerate(lengths)])
    before = gradients(name, [replace(batch(*texts), weight=weight)])
    texts[silent] = (texts[silent] + 1) % small.VOCAB
    after = gradients(name, [replace(batch(*texts), weight=weight)])
    assert before[0] > 0
    for some, other in zip(after, before, strict=True):
        assert same_bits(some, other)


def ended(folder: Path, name: str, seed: int, kills: int, steps: int, *words: str) -> dict[str, int]:
    """How often a run of so many lives was killed, by place."""
    command = [sys.executable, str(HERE / "lives.py"), str(folder), name, str(seed), str(kills), str(steps), *words]
    paths = os.pathsep.join([str(HERE), str(HERE.parent / "parity"), str(HERE.parent.parent)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def told(run: Run) -> dict[tuple[str, int], set[tuple[float, ...]]]:
    """All that the log says of each step, the clock left out: of a step that was done twice, both."""
    found: dict[tuple[str, int], set[tuple[float, ...]]] = {}
    for line in read(run.out / "log.jsonl"):
        fields = {"step": ("loss", "norm", "rate", "targets"), "evaluation": ("loss", "bits_per_byte")}
        if line["kind"] in fields:
            numbers = tuple(line[field] for field in fields[line["kind"]])
            found.setdefault((line["kind"], line["step"]), set()).add(numbers)
    return found


def left(run: Run) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The last checkpoint: its facts, and all tensors."""
    found, notes = state.latest(run.out / "checkpoints")
    assert found is not None and found.step == run.steps and not notes
    facts = {name: value for name, value in found.facts.items() if name != "run"}
    return facts, {f"{part}/{name}": one for part, some in found.tensors.items() for name, one in some.items()}


def check_lives(folder: Path, name: str, seed: int, kills: int, *words: str) -> None:
    whole, killed = folder / "whole", folder / "killed"
    whole.mkdir()
    killed.mkdir()
    steps = 8 + 8 * kills  # so that no life comes to the end before it is ended
    run = lives.plan(whole, name, steps)
    train(run)
    counted = ended(killed, name, seed, kills, steps, *words)
    assert sum(counted.values()) == kills and {"checkpoint", "file"} & counted.keys()
    again = lives.plan(killed, name, steps)
    assert told(again) == told(run)
    facts, tensors = left(run)
    other_facts, others = left(again)
    assert facts == other_facts and tensors.keys() == others.keys() and len(tensors) > 60
    assert {name.partition("/")[0] for name in tensors} == {"model", "optimizer", "average", "generators"}
    assert all(same_bits(tensor, others[name]) for name, tensor in tensors.items())


@equivalence("killed four times = uninterrupted: every loss, weight, moment, average and generator", "bit")
@pytest.mark.parametrize(("name", "seed"), [("local", 1), ("capped", 2), ("recurrent", 3)])
def test_killed(tmp_path: Path, name: str, seed: int) -> None:
    check_lives(tmp_path, name, seed, 4)


@pytest.mark.soak
@equivalence("killed twenty times, by the clock too = uninterrupted", "bit")
@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("name", ["local", "capped", "recurrent"])
def test_killed_twenty_times(tmp_path: Path, name: str, seed: int) -> None:
    check_lives(tmp_path, name, seed, 20, "clock")
