"""What may be done to a remembered sequence, and that it is as if it had not been done."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from equivalence import LOGITS, equivalence, off, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from torch import Tensor

from gemwright.cache.allocate import Cache, Step, allocate
from gemwright.cache.snapshot import load, save
from gemwright.cache.store import Handle
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder

SLACK = 3
TOKENS = 150
names = st.sampled_from(small.NAMES)
FEW = settings(max_examples=max(12, settings.default.max_examples // 2))
FORGETFUL = ("capped", "local", "recurrent")  # models whose layers do not all remember everything


def fresh(name: str, **changes: Any) -> Cache:
    sizes: dict[str, Any] = {"sequences": 4, "tokens": TOKENS, "slack": SLACK, "dtype": torch.float32}
    return allocate(small.SPECS[name], **(sizes | changes))


def run(model: Decoder, step: Step, ids: Tensor) -> Tensor:
    return model(ids, step.span, step, use=lambda hidden, head: head.logits(hidden))


def feed(model: Decoder, cache: Cache, handle: Handle, ids: Tensor) -> Tensor:
    """Append `ids` in one step → their logits."""
    step = cache.prepare([handle], [len(ids)])
    out = run(model, step, ids)
    step.commit()
    return out


class Memory(RuleBasedStateMachine):
    """Anything in any order; whenever logits come out, they are those of one pass over the ids that count."""

    name = ""

    @initialize()
    def begin(self) -> None:
        self.model = small.model(self.name)
        self.cache = fresh(self.name)
        self.ids: dict[Handle, list[int]] = {}
        self.snapshots: dict[Handle, list[int]] = {}
        self.open()

    @property
    def room(self) -> bool:
        return len(self.ids) + len(self.snapshots) < 4

    def some(self, data: st.DataObject, handles: dict[Handle, list[int]]) -> Handle:
        return data.draw(st.sampled_from(list(handles)), label="sequence")

    @precondition(lambda self: self.room)
    @rule()
    def open(self) -> None:
        self.ids[self.cache.open()] = []

    @rule(data=st.data(), seed=st.integers(0, 99), commit=st.booleans())
    def append(self, data: st.DataObject, seed: int, commit: bool) -> None:
        """A ragged step of some sequences. Without a commit, a short one has not happened."""
        longest = st.one_of(st.integers(1, 9), st.integers(20, 60)) if commit else st.integers(1, SLACK + 1)
        handles = data.draw(st.lists(st.sampled_from(list(self.ids)), unique=True, min_size=1), label="sequences")
        lengths = [min(data.draw(longest), TOKENS - handle.length) for handle in handles]
        chosen = [(handle, length) for handle, length in zip(handles, lengths, strict=True) if length]
        if not chosen:
            return
        new = [small.text(seed + index, length) for index, (_, length) in enumerate(chosen)]
        step = self.cache.prepare([handle for handle, _ in chosen], [length for _, length in chosen])
        out = run(self.model, step, torch.cat(new)).split([length for _, length in chosen])
        if commit:
            step.commit()
        for (handle, length), ids, logits in zip(chosen, new, out, strict=True):
            whole = [*self.ids[handle], *ids.tolist()]
            assert off(logits, small.logits(self.model, torch.tensor(whole))[-length:]) <= LOGITS
            if commit:
                self.ids[handle] = whole
            assert handle.length == len(self.ids[handle])

    @rule(data=st.data(), count=st.integers(0, SLACK + 3))
    def rollback(self, data: st.DataObject, count: int) -> None:
        """Exact, or refused because what would be needed is gone.

        `high` is how far the sequence ever came: stores keep a slack behind it, and one token more for a step that was
        not committed. Within the slack it must work, beyond both it must not.
        """
        handle = self.some(data, self.ids)
        left = handle.length - count
        distance = handle.high - left if self.name in FORGETFUL and left > 0 else 0
        try:
            self.cache.rollback(handle, count)
        except ValueError:
            assert left < 0 or distance > SLACK
        else:
            assert left >= 0 and distance <= SLACK + 1
            self.ids[handle] = self.ids[handle][:left]

    @precondition(lambda self: self.room)
    @rule(data=st.data(), frozen=st.booleans())
    def fork(self, data: st.DataObject, frozen: bool) -> None:
        handle = self.some(data, self.ids)
        twin = self.cache.snapshot(handle) if frozen else self.cache.fork(handle)
        (self.snapshots if frozen else self.ids)[twin] = list(self.ids[handle])

    @precondition(lambda self: self.room and self.snapshots)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        snapshot = self.some(data, self.snapshots)
        self.ids[self.cache.restore(snapshot)] = list(self.snapshots[snapshot])

    @precondition(lambda self: len(self.ids) > 1)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        handle = self.some(data, self.ids)
        self.cache.free(handle)
        del self.ids[handle]

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def free_snapshot(self, data: st.DataObject) -> None:
        snapshot = self.some(data, self.snapshots)
        self.cache.free(snapshot)
        del self.snapshots[snapshot]

    def teardown(self) -> None:
        """When all is freed, all room is there again."""
        for handle in [*self.ids, *self.snapshots]:
            self.cache.free(handle)
        again = [self.cache.open() for _ in range(4)]
        self.cache.prepare(again, [TOKENS] * 4)


@pytest.mark.parametrize("name", small.NAMES)
@equivalence("append, roll back, fork, snapshot, restore, free in any order = one pass over what is left", "round")
def test_any_order(name: str) -> None:
    machine = type("Memory", (Memory,), {"name": name})
    examples = max(6, settings.default.max_examples // 3)
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=20))


@equivalence("a rollback within the slack = the tokens never came", "round")
@FEW
@given(name=names, before=st.integers(1, 40), extra=st.integers(1, SLACK), after=st.integers(1, SLACK + 1))
def test_rollback(name: str, before: int, extra: int, after: int) -> None:
    """Tokens taken back one by one, and other ones appended: as in a cache that never saw them."""
    model = small.model(name)

    def told(detour: bool) -> Tensor:
        cache = fresh(name)
        handle = cache.open()
        feed(model, cache, handle, small.text(0, before))
        if detour:
            for index in range(extra):
                feed(model, cache, handle, small.text(50 + index, 1))
            cache.rollback(handle, extra)
        return feed(model, cache, handle, small.text(1, after))

    assert off(told(detour=True), told(detour=False)) <= LOGITS


@pytest.mark.parametrize("name", FORGETFUL)
@equivalence("a rollback of one token beyond the slack", "refusal")
def test_rollback_beyond_the_slack(name: str) -> None:
    model, cache = small.model(name), fresh(name)
    handle = cache.open()
    feed(model, cache, handle, small.text(0, 20))
    with pytest.raises(ValueError, match="slack"):
        cache.rollback(handle, SLACK + 1)
    cache.rollback(handle, SLACK)
    assert handle.length == 20 - SLACK


@equivalence("a fork = a copy", "bit")
@FEW
@given(name=names, before=st.integers(1, 70), after=st.integers(1, 30))
def test_fork(name: str, before: int, after: int) -> None:
    """Whichever of the two writes first, and whatever the other one writes."""
    model, cache = small.model(name), fresh(name)
    first = cache.open()
    feed(model, cache, first, small.text(0, before))
    second, third = cache.fork(first), cache.fork(first)
    one = feed(model, cache, first, small.text(1, after))
    feed(model, cache, second, small.text(2, after))
    assert same_bits(feed(model, cache, third, small.text(1, after)), one)


@equivalence("a snapshot, restored and replayed = the first time", "bit")
@FEW
@given(name=names, before=st.integers(1, 70), after=st.integers(1, 30))
def test_snapshot(name: str, before: int, after: int) -> None:
    model, cache = small.model(name), fresh(name)
    handle = cache.open()
    feed(model, cache, handle, small.text(0, before))
    snapshot = cache.snapshot(handle)
    once = feed(model, cache, handle, small.text(1, after))
    cache.free(handle)
    for _ in range(2):
        again = cache.restore(snapshot)
        assert same_bits(feed(model, cache, again, small.text(1, after)), once)
        cache.free(again)


_CHILD = """
import sys
import torch
sys.path[:0] = [{here!r}, {parity!r}]
torch.set_num_threads(1)
import small
import test_memory as memory
for name in small.NAMES:
    cache = memory.fresh(name)
    handle, ids = memory.load(cache, {folder!r} + "/" + name)
    assert ids == small.text(0, 41).tolist()
    out = memory.feed(small.model(name), cache, handle, small.text(1, 12))
    torch.save(out, {folder!r} + "/" + name + ".pt")
"""


@equivalence("saved, loaded by a new process and continued = uninterrupted", "bit")
def test_new_process(tmp_path: Path) -> None:
    expected = {}
    for name in small.NAMES:
        model, cache = small.model(name), fresh(name)
        handle = cache.open()
        feed(model, cache, handle, small.text(0, 30))
        feed(model, cache, handle, small.text(0, 41)[30:])
        save(cache, handle, tmp_path / name, ids=small.text(0, 41).tolist())
        expected[name] = feed(model, cache, handle, small.text(1, 12))
    here = Path(__file__).parent
    code = _CHILD.format(here=str(here), parity=str(here.parent / "parity"), folder=str(tmp_path))
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    for name, logits in expected.items():
        assert same_bits(torch.load(tmp_path / f"{name}.pt"), logits)


@pytest.mark.parametrize("name", small.NAMES)
@equivalence("a sequence saved from another model, dtype or slack", "refusal")
def test_foreign_files(name: str, tmp_path: Path) -> None:
    model, cache = small.model(name), fresh(name)
    handle = cache.open()
    feed(model, cache, handle, small.text(0, 9))
    path = tmp_path / "sequence"
    save(cache, handle, path, ids=small.text(0, 9).tolist())
    spec = replace(small.SPECS[name], norm_epsilon=1e-5)  # same shapes, other arithmetic
    foreign = [
        allocate(spec, sequences=1, tokens=TOKENS, slack=SLACK, dtype=torch.float32),
        fresh(name, dtype=torch.bfloat16),
        fresh(name, slack=SLACK + 1),
        fresh(name, weights="another tuning"),
    ]
    for other in foreign:
        with pytest.raises(UserError, match="another model"):
            load(other, path)
    assert load(fresh(name, sequences=1), path)[1] == small.text(0, 9).tolist()


@equivalence("a saved sequence cut short or changed", "refusal")
def test_damaged_files(tmp_path: Path) -> None:
    model, cache = small.model("local"), fresh("local")
    handle = cache.open()
    feed(model, cache, handle, small.text(0, 9))
    path = tmp_path / "sequence"
    save(cache, handle, path, ids=small.text(0, 9).tolist())
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    facts = json.loads(header["__metadata__"]["gemwright"])
    header["__metadata__"]["gemwright"] = json.dumps(facts | {"length": 8})
    shorter = json.dumps(header).encode()
    for damaged in (whole[:-1], whole[:20], b"", len(shorter).to_bytes(8, "little") + shorter + whole[8 + size :]):
        path.write_bytes(damaged)
        with pytest.raises(UserError):
            load(cache, path)
