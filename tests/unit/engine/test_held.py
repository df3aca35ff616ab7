"""What an engine says that its cache holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gemwright.engine.engine import Engine
from gemwright.engine.progress import Session
from gemwright.engine.request import Request, Sampling
from gemwright.nn.decoder import Decoder

pytestmark = pytest.mark.usefixtures("one_thread")

Tiny = Callable[[str], Decoder]
NOTHING = {"global": 0, "local": 0, "recurrent": 0}


def asked(length: int, seed: int) -> Request:
    drawn = torch.randint(9, 303, (length - 1,), generator=torch.Generator().manual_seed(seed))
    return Request(ids=(2, *drawn.tolist()), sampling=Sampling(temperature=0, max_tokens=4, ignore_eos=True))


def test_an_engine_that_did_nothing_holds_nothing(tiny: Tiny, family: str) -> None:
    held = Engine(tiny(family), context=128, sequences=2, reuse=2).held()
    assert held.used == held.kept == NOTHING and held.shared == held.sequences == held.beginnings == held.disk == 0
    assert sum(held.capacity.values()) > 0


def test_requests_conversations_and_beginnings_are_told_apart(tiny: Tiny, family: str) -> None:
    engine, session = Engine(tiny(family), context=200, sequences=2, reuse=4), Session()
    engine.generate(asked(30, 1), session)
    engine.submit(asked(30, 2))
    engine.step()
    held = engine.held()
    assert (held.sequences, held.idle, held.running, held.waiting) == (2, 1, 1, 0)
    assert held.beginnings == len(engine._places.prefixes) == 2  # where both prompts ended
    engine.cancel(0)
    engine.release(session)
    engine.run([])
    assert engine.held().idle == 0


def test_what_several_use_together_counts_once_and_is_shared(tiny: Tiny) -> None:
    """A prompt of a whole block and six tokens: the block is the session's and its beginning's, the second was copied
    for the beginning."""
    engine, session = Engine(tiny("gemma-2b"), context=192, sequences=2, reuse=2), Session()
    engine.generate(asked(70, 1), session)
    held, block = engine.held(), engine.cache.bytes()["global"] // (2 * 3)
    assert held.used["global"] == 2 * block and held.kept["global"] == block and held.shared == block
