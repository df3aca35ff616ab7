"""Blocks of global layers."""

from __future__ import annotations

import pytest
import torch

from gemwright.cache.full import BLOCK
from gemwright.cache.store import CacheFull


def test_a_sequence_alone_lies_in_one_piece_and_is_read_without_a_copy(make) -> None:
    runner = make("full", tokens=4 * BLOCK)
    first, second = runner.cache.open(), runner.cache.open()
    for _ in range(3):
        runner.feed([first, second], [BLOCK - 7, BLOCK - 7])
    step = runner.cache.prepare([first, second], [1, 1])
    reads = step.where[0][0].reads
    assert all(isinstance(read, slice) for read in reads)


def test_a_scattered_sequence_is_read_all_the_same(make) -> None:
    runner = make("full", tokens=4 * BLOCK, sequences=2)
    one = runner.cache.open()
    runner.feed([one], [BLOCK + 5])
    twin = runner.cache.fork(one)
    # Both grow in turn until neither lies in one piece.
    for _ in range(3):
        runner.feed([one], [BLOCK // 2])
        start = twin.length
        assert runner.agrees(runner.feed([twin], [BLOCK // 2])[0], start)
    step = runner.cache.prepare([twin], [1])
    assert isinstance(step.where[0][0].reads[0], torch.Tensor)


def test_a_fork_copies_one_block_and_shares_the_rest(make) -> None:
    runner = make("full", tokens=4 * BLOCK)
    one = runner.cache.open()
    runner.feed([one], [2 * BLOCK + 5])
    twin = runner.cache.fork(one)
    store = runner.cache.stores[0]
    runner.feed([twin], [1])
    shared = set(one.places[0].blocks) & set(twin.places[0].blocks)
    assert len(shared) == 2
    assert sum(owners > 0 for owners in store._shares.owners) == 4


def test_rolling_back_gives_blocks_back(make) -> None:
    runner = make("full", tokens=4 * BLOCK)
    handle = runner.cache.open()
    runner.feed([handle], [3 * BLOCK])
    before = runner.cache.bytes_used(handle)["global"]
    runner.cache.rollback(handle, 2 * BLOCK)
    assert runner.cache.bytes_used(handle)["global"] * 3 == before


def test_a_sequence_that_found_no_block_is_whole_and_goes_on(make) -> None:
    runner = make("full", tokens=2 * BLOCK, sequences=2)
    one, other = runner.cache.open(), runner.cache.open()
    runner.feed([one], [BLOCK + 6])
    runner.feed([other], [2 * BLOCK - 10])
    twin = runner.cache.fork(one)
    with pytest.raises(CacheFull):
        runner.cache.prepare([one], [1])
    runner.cache.free(other)
    for handle in (one, twin):
        assert runner.agrees(runner.feed([handle], [5])[0], BLOCK + 6)


def test_a_step_that_does_not_fit_gives_back_what_it_took(make) -> None:
    runner = make("full", tokens=2 * BLOCK, sequences=2)
    one, other = runner.cache.open(), runner.cache.open()
    runner.feed([one, other], [BLOCK, 2 * BLOCK])
    twin = runner.cache.fork(other)
    runner.cache.rollback(twin, BLOCK + 1)
    with pytest.raises(CacheFull):
        runner.cache.prepare([one, twin], [1, 2])
    assert len(one.places[0].blocks) == 1
