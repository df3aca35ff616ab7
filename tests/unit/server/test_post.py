"""What one thread tells an event loop: in order, at once, and not to one that has ended."""

from __future__ import annotations

import asyncio

from gemwright.server.post import Post


def test_nothing_is_told_before_it_is_sent_and_then_all_in_order() -> None:
    async def work() -> list[int]:
        loop, post, heard = asyncio.get_running_loop(), Post(), list[int]()
        for number in range(3):
            post.put(loop, heard.append, number)
        await asyncio.sleep(0)
        assert heard == []
        post.send()
        await asyncio.sleep(0)
        return heard

    assert asyncio.run(work()) == [0, 1, 2]


def test_the_loop_is_woken_once_however_much_it_is_told() -> None:
    async def work() -> int:
        loop, post, woken = asyncio.get_running_loop(), Post(), list[object]()
        wake = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *given: (woken.append(given), wake(*given))[1]  # type: ignore[method-assign]
        for _ in range(8):
            post.put(loop, lambda: None)
        post.send()
        post.send()
        return len(woken)

    assert asyncio.run(work()) == 1


def test_a_loop_that_has_ended_is_told_nothing() -> None:
    loop, post, heard = asyncio.new_event_loop(), Post(), list[int]()
    loop.close()
    post.put(loop, heard.append, 1)
    post.send()
    assert heard == []
