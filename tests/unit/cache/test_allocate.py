"""The algebra of handles: append, roll back, fork, snapshot, free."""

from __future__ import annotations

import random

import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.cache.allocate import allocate
from gemwright.cache.store import CacheFull


def test_any_chunking_gives_the_logits_of_one_pass(runner) -> None:
    for seed in range(4):
        draw, handle = random.Random(seed), runner.cache.open()
        while handle.length < 110:
            start = handle.length
            (logits,) = runner.feed([handle], [min(draw.choice([1, 2, 4, 5, 9, 30]), 120 - start)])
            assert runner.agrees(logits, start)
        runner.cache.free(handle)


def test_ragged_steps_serve_each_sequence_as_if_alone(runner) -> None:
    handles = [runner.cache.open() for _ in range(3)]
    for lengths in ([20, 3, 7], [1, 1, 1], [2, 9, 1], [1, 1, 1], [3, 3, 3]):
        starts = [handle.length for handle in handles]
        for logits, start in zip(runner.feed(handles, lengths), starts, strict=True):
            assert runner.agrees(logits, start)


def test_rollback_within_the_slack_is_exact_and_repeatable(runner) -> None:
    handle = runner.cache.open()
    runner.feed([handle], [40])
    for count in (3, 1, 2, 3):
        runner.feed([handle], [3], torch.full((120,), 7))
        runner.cache.rollback(handle, 3)
        start = handle.length
        (logits,) = runner.feed([handle], [count])
        assert runner.agrees(logits, start)


@pytest.mark.parametrize("name", ["capped", "ring", "recurrent"])
def test_one_step_beyond_the_slack_raises(make, name: str) -> None:
    runner = make(name)
    handle = runner.cache.open()
    runner.feed([handle], [30])
    with pytest.raises(ValueError, match="slack is 3"):
        runner.cache.rollback(handle, 4)
    runner.cache.rollback(handle, 2)
    with pytest.raises(ValueError, match="slack is 3"):
        runner.cache.rollback(handle, 3)
    runner.cache.rollback(handle, 1)
    assert runner.agrees(runner.feed([handle], [5])[0], 27)


def test_global_layers_alone_roll_back_any_distance(make) -> None:
    runner = make("full")
    handle = runner.cache.open()
    runner.feed([handle], [100])
    runner.cache.rollback(handle, 90)
    assert runner.agrees(runner.feed([handle], [20])[0], 10)


def test_a_rollback_to_nothing_starts_anew(runner) -> None:
    handle = runner.cache.open()
    runner.feed([handle], [40])
    runner.cache.rollback(handle, 40)
    assert runner.agrees(runner.feed([handle], [15])[0], 0)
    runner.cache.rollback(handle, 2)
    assert runner.agrees(runner.feed([handle], [4])[0], 13)


def test_forks_part_ways_and_never_touch_each_other(runner) -> None:
    handle = runner.cache.open()
    runner.feed([handle], [33])
    twin = runner.cache.fork(handle)
    other = torch.flip(runner.ids, [0])
    runner.feed([twin], [4], other)
    runner.feed([twin], [1], other)
    assert runner.agrees(runner.feed([handle], [6])[0], 33)
    runner.cache.free(handle)
    alone = runner.cache.open()
    mixed = torch.cat([runner.ids[:33], other[33:]])
    runner.feed([alone], [38], mixed)
    ours, theirs = runner.feed([twin, alone], [2, 2], mixed)
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_a_snapshot_replays_any_number_of_times(runner) -> None:
    handle = runner.cache.open()
    runner.feed([handle], [25])
    snapshot = runner.cache.snapshot(handle)
    runner.feed([handle], [50])
    with pytest.raises(ValueError, match="snapshot"):
        runner.cache.prepare([snapshot], [1])
    for _ in range(2):
        again = runner.cache.restore(snapshot)
        assert runner.agrees(runner.feed([again], [40])[0], 25)
        runner.cache.free(again)


def test_a_short_step_that_was_never_committed_did_not_happen(runner) -> None:
    handle = runner.cache.open()
    runner.feed([handle], [40])
    step = runner.cache.prepare([handle], [4])
    runner.model(torch.full((4,), 9), step.span, step)
    assert runner.cache.intact(handle)
    assert runner.agrees(runner.feed([handle], [10])[0], 40)


@pytest.mark.parametrize("name", ["capped", "ring", "recurrent"])
def test_a_long_step_that_was_never_committed_is_owned_up_to(make, name: str) -> None:
    runner = make(name)
    handle = runner.cache.open()
    runner.feed([handle], [40])
    step = runner.cache.prepare([handle], [30])
    runner.model(torch.full((30,), 9), step.span, step)
    assert not runner.cache.intact(handle)
    with pytest.raises(ValueError, match="never committed"):
        runner.cache.prepare([handle], [1])


def test_memory_comes_back_when_sequences_are_freed(runner) -> None:
    for _ in range(3):
        handles = [runner.cache.open() for _ in range(4)]
        for handle in handles:
            runner.feed([handle], [100])
        for handle in handles:
            runner.cache.free(handle)
            runner.cache.free(handle)
    with pytest.raises(ValueError, match="freed"):
        runner.cache.prepare([handles[0]], [1])


def test_running_out_is_said_and_leaves_the_others_whole(runner) -> None:
    handles = [runner.cache.open() for _ in range(4)]
    runner.feed(handles[:1], [30])
    if runner.spec.kinds.count("global") < len(runner.spec.kinds):
        with pytest.raises(CacheFull):
            runner.cache.open()
    runner.cache.free(handles.pop())
    runner.cache.open()
    assert runner.agrees(runner.feed(handles[:1], [5])[0], 30)


def test_more_tokens_than_the_cache_holds_are_refused_with_the_numbers(make) -> None:
    for name in ("full", "ring"):
        runner = make(name)
        with pytest.raises(ValueError, match=r"0 \+ 121 .* 120"):
            runner.cache.prepare([runner.cache.open()], [121])


def test_a_sequence_cannot_stand_twice_in_one_step(runner) -> None:
    handle = runner.cache.open()
    with pytest.raises(ValueError, match="twice"):
        runner.cache.prepare([handle, handle], [1, 1])


def test_windows_and_states_do_not_grow_with_the_context() -> None:
    spec = preset("recurrentgemma-2b")
    short, long = (allocate(spec, sequences=1, tokens=tokens, device="meta").bytes() for tokens in (4096, 1 << 20))
    assert short == long and short["global"] == 0
    three = preset("gemma-3-1b")
    short, long = (allocate(three, sequences=1, tokens=tokens, device="meta").bytes() for tokens in (4096, 32_768))
    assert short["local"] == long["local"] and long["global"] == 8 * short["global"]


def test_rings_hold_the_window_and_the_slack_and_no_more() -> None:
    spec = preset("gemma-3-4b")
    for slack in (0, 8):
        found = allocate(spec, sequences=2, tokens=8192, slack=slack, device="meta").bytes()
        assert found["local"] == 2 * 29 * (1024 + slack) * 4096
        assert found["global"] == 2 * 5 * 8192 * 4096


@pytest.mark.parametrize("changes", [{"sequences": 0}, {"tokens": 0}, {"slack": -1}])
def test_impossible_caches_are_refused(make, changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="no cache"):
        make("ring").fresh(**changes)


def test_a_step_is_committed_once(make) -> None:
    runner = make("ring")
    handle = runner.cache.open()
    step = runner.cache.prepare([handle], [2])
    step.commit()
    with pytest.raises(ValueError, match="before"):
        step.commit()
    assert handle.length == 2
