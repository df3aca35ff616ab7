"""Scratch memory of the kernels' calls."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
from torch._subclasses.fake_tensor import FakeTensorMode, is_fake

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
