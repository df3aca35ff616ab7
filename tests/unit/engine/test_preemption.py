"""Requests of a higher priority take places, and those that gave way go on as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from gemwright.engine.engine import Engine
from gemwright.engine.progress import Session
from gemwright.engine.request import Completion, Request, Sampling
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder

pytestmark = pytest.mark.usefixtures("one_thread")

Tiny = Callable[[str], Decoder]


def asked(length: int, seed: int, most: int = 8, priority: int = 0) -> Request:
    drawn = torch.randint(9, 303, (length - 1,), generator=torch.Generator().manual_seed(seed))
    sampling = Sampling(temperature=0, max_tokens=most, ignore_eos=True)
    return Request(ids=(2 + seed, *drawn.tolist()), sampling=sampling, priority=priority)


def finish(engine: Engine) -> dict[int, Completion]:
    """The completions of all that is under way, in the order in which they end."""
    done: dict[int, Completion] = {}
    while engine.busy:
        done |= {event.request: event.completion for event in engine.step() if event.completion is not None}
    return done


def counting(engine: Engine) -> list[int]:
    """How many tokens each later step runs."""
    counts: list[int] = []
    prepare = engine._places.prepare

    def counted(members: Any, parts: Sequence[int], images: Any) -> Any:
        counts.append(sum(parts))
        return prepare(members, parts, images)

    engine._places.prepare = counted  # type: ignore[method-assign]
    return counts


def interrupted(engine: Engine, steps: int, session: Session | None = None) -> tuple[list[int], dict[int, Completion]]:
    """A request that had so many steps when a higher one came."""
    low = engine.submit(asked(40, 1), session)
    for _ in range(steps):
        engine.step()
    high = engine.submit(asked(30, 2, priority=1))
    return [high, low], finish(engine)


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_who_gave_way_ends_later_with_the_same_answer_and_reads_nothing_again(
    tiny: Tiny, family: str, steps: int
) -> None:
    """The first is interrupted within its prompt, at its first token, or later."""
    plain = Engine(tiny(family), context=128, sequences=1)
    expected = [plain.generate(asked(30, 2)).ids, plain.generate(asked(40, 1)).ids]
    engine = Engine(tiny(family), context=200, sequences=1, reuse=3, chunk=24)
    counts = counting(engine)
    order, done = interrupted(engine, steps)
    assert list(done) == order and [done[key].ids for key in order] == expected
    assert sum(counts) == 30 + 7 + 40 + 7
    assert done[order[1]].usage.cached == 0


def test_without_kept_beginnings_everything_is_read_again_with_the_same_answer(tiny: Tiny, family: str) -> None:
    plain = Engine(tiny(family), context=128, sequences=1)
    expected = plain.generate(asked(40, 1)).ids
    engine = Engine(tiny(family), context=128, sequences=1, chunk=24)
    counts = counting(engine)
    order, done = interrupted(engine, 6)
    assert done[order[1]].ids == expected
    assert sum(counts) > 30 + 7 + 40 + 7


def test_a_session_goes_on_from_a_request_that_gave_way(tiny: Tiny, family: str) -> None:
    engine, session = Engine(tiny(family), context=128, sequences=2, reuse=3), Session()
    order, done = interrupted(engine, 3, session)
    said = done[order[1]].ids
    assert session.handle is not None and session.ids == [*asked(40, 1).ids, *said][: len(session.ids)]
    again = Request(ids=(*asked(40, 1).ids, *said, 20), sampling=asked(2, 0).sampling)
    assert engine.generate(again, session).usage.cached == 40 + len(said) - 1


def test_one_that_gave_way_can_be_cancelled(tiny: Tiny) -> None:
    engine = Engine(tiny("gemma-3-1b"), context=128, sequences=1, reuse=2)
    low = engine.submit(asked(20, 1))
    engine.step()
    high = engine.submit(asked(20, 2, priority=1))
    engine.step()
    ended = engine.cancel(low)
    assert ended is not None and ended.completion is not None and len(ended.completion.ids) == 1
    assert list(finish(engine)) == [high]
    assert not any(kept.awaited for kept in engine._places.prefixes.kept)


def test_a_priority_is_a_whole_number() -> None:
    with pytest.raises(UserError, match="priority"):
        Request(ids=(2,), priority=1.5)  # type: ignore[arg-type]
