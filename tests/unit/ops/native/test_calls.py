"""Scratch memory of the kernels' calls, and blocks that they write."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode, is_fake

from gemwright.ops import blocks
from gemwright.ops.native import calls


def test_calls_have_scratch_of_their_own_unless_one_room_serves_them() -> None:
    alone = [calls.room(100) for _ in range(2)]
    assert alone[0].data_ptr() != alone[1].data_ptr() and len(alone[0]) == 100
    with calls.one_room():
        first = calls.room(1000)
        assert calls.room(10).data_ptr() == calls.room(1000).data_ptr() == first.data_ptr()
        larger = calls.room(5000)
        assert len(larger) >= 5000 and calls.room(1000).data_ptr() == larger.data_ptr()
    assert calls.room(1000).data_ptr() != larger.data_ptr()  # which is still held here


def test_the_room_is_given_back_even_after_a_mistake() -> None:
    with pytest.raises(KeyError), calls.one_room():
        gone = weakref.ref(calls.room(1 << 24))
        raise KeyError
    gc.collect()
    assert gone() is None


def test_one_room_within_another_is_the_same() -> None:
    with calls.one_room():
        outer = calls.room(1000).data_ptr()
        with calls.one_room():
            assert calls.room(1000).data_ptr() == outer
        assert calls.room(1000).data_ptr() == outer


def test_threads_do_not_share_a_room() -> None:
    places = []

    def work() -> None:
        with calls.one_room():
            places.append(calls.room(1000))

    with calls.one_room():
        places.append(calls.room(1000))
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert places[0].data_ptr() != places[1].data_ptr()


def test_pretended_scratch_does_not_outlive_the_pretence() -> None:
    with FakeTensorMode(), calls.one_room():
        assert is_fake(calls.room(1 << 24)) and len(calls.room(100)) == 1 << 24
    with calls.one_room():
        assert not is_fake(calls.room(100)) and calls.address(calls.room(100)) == calls.room(100).data_ptr() != 0


def numbers(kind: str) -> torch.Tensor:
    """float32 `[512, 32]`."""
    any_bits = torch.randint(-(2**31), 2**31, (512, 32), dtype=torch.int64).int().view(torch.float32)
    small = torch.randn(512, 32) * 2.0 ** torch.randint(-150, 10, (512, 1)).float()
    return {
        "any size": torch.where(any_bits.isfinite(), any_bits, 0.0),
        "a size for each block": small,
        "on halves": torch.randint(-254, 255, (512, 32)) / 2 * (127 / 254),
        "few steps": torch.randint(-8, 9, (512, 32)).float(),
        "zeros of both signs": torch.zeros(512, 32) * torch.where(torch.rand(512, 32) < 0.5, -1.0, 1.0),
    }[kind]


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", [blocks.Q8_0, blocks.Q4_0], ids=lambda form: form.name)
@pytest.mark.parametrize("kind", ["any size", "a size for each block", "on halves", "few steps", "zeros of both signs"])
def test_blocks_are_the_references_to_the_bit(kind: str, form: blocks.Format, dtype: torch.dtype) -> None:
    values = numbers(kind).to(dtype)
    values = torch.where(values.isfinite(), values, 0.0)
    ours = calls.quantise_blocks(values, form.name.lower(), form.bytes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calls, "quantise_blocks", lambda *arguments: None)
        expected = blocks.quantize(values, form)
    assert ours is not None and torch.equal(ours, expected)


@pytest.mark.usefixtures("kernels")
def test_blocks_that_are_not_finite_are_left_to_the_reference() -> None:
    for odd in (float("inf"), -float("inf"), float("nan")):
        values = torch.randn(4, 32)
        values[2, 31] = odd
        assert calls.quantise_blocks(values, "q8_0", 34) is None
    assert calls.quantise_blocks(torch.randn(4, 32).double(), "q8_0", 34) is None
    assert calls.quantise_blocks(torch.randn(4, 32, device="meta"), "q8_0", 34) is None
