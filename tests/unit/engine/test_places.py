"""Kept beginnings in the engine: what they save, and that they give way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gemwright.cache import snapshot
from gemwright.cache.allocate import allocate
from gemwright.engine.engine import Engine
from gemwright.engine.progress import Session
from gemwright.engine.request import Request, Sampling
from gemwright.engine.room import default_context, default_reuse
from gemwright.nn.decoder import Decoder

pytestmark = pytest.mark.usefixtures("one_thread")

Tiny = Callable[[str], Decoder]
CPU = torch.device("cpu")


def prompt(length: int, seed: int = 0) -> tuple[int, ...]:
    drawn = torch.randint(9, 303, (length - 1,), generator=torch.Generator().manual_seed(seed))
    return (2, *drawn.tolist())


def asked(ids: tuple[int, ...], most: int = 4) -> Request:
    return Request(ids=ids, sampling=Sampling(temperature=0, max_tokens=most, ignore_eos=True))


def owners(engine: Engine) -> int:
    return sum(sum(store._shares.owners) for store in engine.cache.stores)  # type: ignore[attr-defined]


def test_the_same_prompt_reads_its_last_token_only(tiny: Tiny, family: str) -> None:
    engine = Engine(tiny(family), context=128, sequences=2, reuse=4)
    first, second = (engine.generate(asked(prompt(50))) for _ in range(2))
    assert first.usage.cached == 0 and second.usage.cached == 49
    assert second.ids == first.ids


def test_a_prompt_goes_on_from_an_answer(tiny: Tiny, family: str) -> None:
    engine = Engine(tiny(family), context=128, sequences=2, reuse=4)
    first = engine.generate(asked(prompt(50)))
    second = engine.generate(asked((*prompt(50), *first.ids, 20, 21)))
    assert second.usage.cached == 50 + len(first.ids) - 1


def test_prompts_that_part_within_go_on_from_a_chunk(tiny: Tiny, family: str) -> None:
    engine = Engine(tiny(family), context=128, sequences=2, reuse=6, chunk=16)
    engine.generate(asked(prompt(60)))
    second = engine.generate(asked((*prompt(60)[:39], *prompt(9, seed=3))))
    assert second.usage.cached == (39 if family == "gemma-2b" else 32)


def test_a_session_that_lost_its_place_goes_on_from_a_snapshot(tiny: Tiny, family: str) -> None:
    engine, session = Engine(tiny(family), context=128, sequences=1, reuse=4), Session()
    first = engine.generate(asked(prompt(50)), session)
    engine.generate(asked(prompt(30, seed=4)))
    assert session.handle is None
    again = engine.generate(asked((*prompt(50), *first.ids, 20)), session)
    assert again.usage.cached == 50 + len(first.ids) - 1


def test_a_session_edited_far_back_goes_on_from_its_earlier_turn(tiny: Tiny, family: str) -> None:
    engine, session = Engine(tiny(family), context=256, sequences=1, reuse=4), Session()
    engine.generate(asked(prompt(30)), session)
    engine.generate(asked((*prompt(30), *prompt(40, seed=5))), session)
    edited = engine.generate(asked((*prompt(30), *prompt(20, seed=6))), session)
    assert edited.usage.cached >= 30


def test_a_twin_that_gets_no_place_stays_under_its_adapter(tiny: Tiny, tmp_path: Path) -> None:
    """Else what is saved of it could not be opened again."""
    engine = Engine(tiny("gemma-3-1b"), context=64, sequences=1)
    session = Session()
    session.adapter = "red"
    engine.save(engine.twin(session), tmp_path / "twin", "")
    assert snapshot.load(engine.cache, tmp_path / "twin", "red") == (None, [])


def test_without_reuse_nothing_is_kept(tiny: Tiny) -> None:
    engine = Engine(tiny("gemma-3-1b"), context=128, sequences=2)
    engine.generate(asked(prompt(50)))
    assert engine.generate(asked(prompt(50))).usage.cached == 0
    assert owners(engine) == 0


def test_what_is_kept_gives_its_blocks_to_those_who_run(tiny: Tiny, family: str) -> None:
    """Every prompt fills the context: the blocks are those of two sequences."""
    engine = Engine(tiny(family), context=128, sequences=2, reuse=6)
    requests = [asked(prompt(120, seed), most=8) for seed in range(6)]
    found = engine.run(requests)
    plain = Engine(tiny(family), context=128, sequences=2)
    assert [one.ids for one in found] == [one.ids for one in plain.run(requests)]
    engine.forget()
    assert owners(engine) == 0


def test_no_more_is_kept_than_asked_for(tiny: Tiny, family: str) -> None:
    engine = Engine(tiny(family), context=128, sequences=2, reuse=3, chunk=8)
    for seed in range(4):
        engine.generate(asked(prompt(40, seed)))
        assert len(engine._places.prefixes) <= 3
    assert len(engine._places.prefixes) == 3


def test_no_more_bytes_are_kept_than_asked_for(tiny: Tiny, family: str) -> None:
    """Room for three beginnings of a block each, of eight that may be kept."""
    whole = Engine(tiny(family), context=200, sequences=2, reuse=8)
    for seed in range(4):
        whole.generate(asked(prompt(40, seed)))
    one = sum(whole.cache.bytes_used(whole._places.prefixes.handles[0]).values())
    engine = Engine(tiny(family), context=200, sequences=2, reuse=8, reuse_bytes=3 * one)
    for seed in range(4):
        engine.generate(asked(prompt(40, seed)))
        assert sum(engine.held().kept.values()) <= 3 * one
    assert engine.held().beginnings == 3 < whole.held().beginnings


def test_windows_and_states_of_kept_beginnings_are_counted(tiny: Tiny) -> None:
    spec = tiny("gemma-3-1b").spec
    few, many = (allocate(spec, sequences=2, tokens=64, spare=spare, device="meta").bytes() for spare in (0, 2))
    assert many["local"] == 2 * few["local"] and many["global"] == few["global"]
    assert default_reuse(spec, dtype=torch.float32, device=CPU, free=2**40) == 8
    assert default_reuse(spec, dtype=torch.float32, device=CPU, free=0) == 2
    assert default_reuse(tiny("gemma-2b").spec, dtype=torch.float32, device=CPU, free=0) == 8


def test_the_context_leaves_room_for_kept_beginnings() -> None:
    from gemwright.arch.presets import preset

    spec, size = preset("gemma-3-1b"), {"sequences": 1, "dtype": torch.bfloat16, "device": CPU, "free": 2**30}
    with pytest.warns(UserWarning, match="a context of"):
        few, many = (default_context(spec, spare=spare, **size) for spare in (0, 40))  # type: ignore[arg-type]
    assert few is not None and many is not None and many < few
