"""Guesses are run, kept or taken back, counted, and left out where they lose. That no text changes by them is a row of
the invariants."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from guesses import Told

from gemwright.engine import engine as engine_module
from gemwright.engine import speculate
from gemwright.engine.engine import Engine
from gemwright.engine.lookup import Lookup
from gemwright.engine.progress import Progress, Session
from gemwright.engine.request import Completion, Request, Sampling
from gemwright.engine.speculate import chosen
from gemwright.nn.decoder import Decoder
from gemwright.nn.head import Head
from gemwright.ops.native import calls
from gemwright.planner.guesses import bit_equal, most
from gemwright.quant.scheme import SCHEMES
from gemwright.quant.swap import swap
from gemwright.text.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

Tiny = Callable[[str], Decoder]
PROMPT = (2, 20, 31, 44, 17)
GREEDY = Sampling(temperature=0, max_tokens=28, ignore_eos=True)
SLACK = 8  # tokens that a cache takes back


def plain(model: Decoder, sampling: Sampling = GREEDY, **settings: Any) -> Completion:
    return Engine(model, sequences=1, context=128, **settings).generate(Request(ids=PROMPT, sampling=sampling))


def guessed(model: Decoder, guesses: Told, sampling: Sampling = GREEDY, **settings: Any) -> Completion:
    return plain(model, sampling, speculate=guesses, **settings)


def telling(ids: Sequence[int], **settings: Any) -> Told:
    """Always right where the answer is these ids."""
    return Told(lambda progress, count: ids[progress.drawn : progress.drawn + count], **settings)


def lying(ids: Sequence[int], **settings: Any) -> Told:
    """Always wrong where the answer is these ids."""
    return Told(lambda progress, count: [(id + 1) % 300 for id in ids[progress.drawn :]][:count], **settings)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """All guesses are run, whatever they are worth."""
    monkeypatch.setattr(speculate, "worth", lambda offers, **_: [length for length, _ in offers])


@pytest.mark.usefixtures("eager")
def test_what_comes_true_takes_no_step_of_its_own(tiny: Tiny, family: str) -> None:
    model, steps = tiny(family), []
    expected = plain(model)
    hook = model.register_forward_pre_hook(lambda *_: steps.append(1))
    try:
        found = guessed(model, telling(expected.ids))
    finally:
        hook.remove()
    assert found.ids == expected.ids
    assert len(steps) == 1 + 3  # the prompt draws 1 of 28; 3 steps of 9
    assert found.usage.proposed == found.usage.accepted == 3 * SLACK


@pytest.mark.usefixtures("eager")
def test_a_step_asks_for_the_rows_of_logits_that_are_planned(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = tiny("gemma-3-1b"), []
    ids, logits = plain(model).ids, Head.logits
    monkeypatch.setattr(Head, "logits", lambda head, hidden: rows.append(len(hidden)) or logits(head, hidden))
    requests = [Request(ids=PROMPT, sampling=GREEDY)] * 2
    Engine(model, sequences=2, context=128, speculate=telling(ids)).run(requests)
    assert max(rows) == 2 + most(2)


@pytest.mark.usefixtures("eager")
def test_what_does_not_come_true_is_taken_back(tiny: Tiny, family: str) -> None:
    expected = plain(tiny(family))
    found = guessed(tiny(family), lying(expected.ids))
    assert found.ids == expected.ids
    assert found.usage.accepted == 0 and found.usage.proposed > 20 * SLACK


@pytest.mark.usefixtures("eager")
def test_what_stands_before_a_false_guess_is_kept(tiny: Tiny, family: str) -> None:
    true = plain(tiny(family)).ids
    half = Told(lambda progress, count: [*true[progress.drawn :][:3], *[(id + 1) % 300 for id in true]])
    found = guessed(tiny(family), half)
    assert found.ids == true
    assert 3 / SLACK <= found.usage.accepted / found.usage.proposed < 0.6


@pytest.mark.usefixtures("eager")
def test_guesses_beyond_the_end_of_an_answer_are_no_part_of_it(tiny: Tiny, tokenizer: Tokenizer) -> None:
    model = tiny("gemma-3-1b")
    ids = plain(model).ids
    stop = Sampling(temperature=0, max_tokens=28, stop_ids=(ids[4],), ignore_eos=True)
    found = guessed(model, telling(ids), stop)
    assert found.ids == plain(model, stop).ids and found.finish_reason == "stop"
    assert found.usage.accepted == len(found.ids) - 1 < found.usage.proposed


@pytest.mark.usefixtures("eager")
def test_no_guess_reaches_beyond_the_last_token(tiny: Tiny, family: str) -> None:
    expected = plain(tiny(family))
    told = telling(expected.ids)
    found = guessed(tiny(family), told, Sampling(temperature=0, max_tokens=5, ignore_eos=True))
    assert found.ids == expected.ids[:5]
    assert told.asked == [(0, 1, 3)]


@pytest.mark.usefixtures("eager")
def test_ids_that_are_never_drawn_are_never_run(tiny: Tiny, tokenizer: Tokenizer) -> None:
    """The table has no row for some, and image markers would be taken for pictures."""
    model = tiny("gemma-3-1b")
    assert tokenizer.start_of_image is not None
    for wrong in (tokenizer.start_of_image, tokenizer.vocab_size, 10**6):
        found = plain(model, tokenizer=tokenizer, speculate=Told(lambda _, count, id=wrong: [9, id] * count))
        assert found.ids == plain(model, tokenizer=tokenizer).ids
        assert found.usage.proposed <= 28


@pytest.mark.usefixtures("eager")
def test_a_session_goes_on_where_a_guessed_answer_ended(tiny: Tiny, family: str) -> None:
    model, session = tiny(family), Session()
    expected = plain(model)
    engine = Engine(model, sequences=1, context=128, speculate=telling(expected.ids))
    first = engine.generate(Request(ids=PROMPT, sampling=GREEDY), session)
    engine._speculation.proposer.say = lambda *_: ()  # type: ignore[union-attr]
    second = Request(ids=(*PROMPT, *first.ids, 33, 21), sampling=GREEDY)
    found = engine.generate(second, session)
    assert found.usage.cached == len(PROMPT) + len(first.ids) - 1
    assert found.ids == Engine(model, sequences=1, context=128).generate(second).ids


def test_the_proposer_hears_of_the_end(tiny: Tiny) -> None:
    told = Told(lambda *_: ())
    engine = Engine(tiny("gemma-2b"), sequences=1, speculate=told)
    keys = [engine.submit(Request(ids=PROMPT, sampling=GREEDY)) for _ in range(3)]
    engine.cancel(keys[1])
    while engine.busy:
        engine.step()
    assert told.ended == [keys[1], keys[0], keys[2]]


def test_a_step_that_reads_a_prompt_runs_no_guesses(tiny: Tiny) -> None:
    told = Told(lambda *_: (9,))
    engine = Engine(tiny("gemma-2b"), sequences=2, chunk=4, speculate=told)
    engine.submit(Request(ids=PROMPT, sampling=GREEDY))
    for _ in range(2):
        engine.step()
    engine.submit(Request(ids=PROMPT * 4, sampling=GREEDY))
    before = len(told.asked)
    for _ in range(5):
        engine.step()
    assert len(told.asked) == before
    engine.step()
    assert len(told.asked) == before + 2


# ----------------------------------------------------------------------------------------------------------------------
# What is worth it


class Clock:
    """A clock that only steps move: so many seconds for each, and for each of its rows."""

    def __init__(self, model: Decoder, start: float, row: float) -> None:
        self.now, self.rows, self._cost = 0.0, list[int](), (start, row)
        self._hook = model.register_forward_pre_hook(self._step)

    def _step(self, _: object, inputs: tuple[torch.Tensor, ...]) -> None:
        self.rows.append(len(inputs[0]))
        self.now += self._cost[0] + self._cost[1] * len(inputs[0])

    def perf_counter(self) -> float:
        return self.now

    def stop(self) -> None:
        self._hook.remove()


@pytest.fixture
def clock(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model whose rows take a tenth of a step each."""
    made = Clock(tiny("gemma-3-1b"), 0.9, 0.1)
    monkeypatch.setattr(engine_module, "time", made)
    yield made
    made.stop()


LONG = Sampling(temperature=0, max_tokens=100, ignore_eos=True)


def test_guesses_that_always_lose_are_soon_left_out(tiny: Tiny, clock: Clock) -> None:
    expected = plain(tiny("gemma-3-1b"), LONG)
    clock.rows.clear()
    clock.now = 0.0
    found = guessed(tiny("gemma-3-1b"), lying(expected.ids), LONG)
    assert found.ids == expected.ids
    assert set(clock.rows[-80:]) == {1}
    assert clock.now < 1.02 * (100 + 0.1 * len(PROMPT))


def test_guesses_that_always_come_true_are_run_as_far_as_can_be(tiny: Tiny, clock: Clock) -> None:
    expected = plain(tiny("gemma-3-1b"), LONG)
    clock.rows.clear()
    clock.now = 0.0
    assert guessed(tiny("gemma-3-1b"), telling(expected.ids), LONG).ids == expected.ids
    assert clock.rows.count(SLACK + 1) > 5
    assert clock.now < 100 / 3


def test_free_guesses_are_run_again_once_they_would_come_true(tiny: Tiny, clock: Clock) -> None:
    true = plain(tiny("gemma-3-1b"), LONG).ids

    def say(progress: Progress, count: int) -> list[int]:
        """Lies for the first half."""
        rest = true[progress.drawn : progress.drawn + count]
        return [(id + 1) % 300 for id in rest] if progress.drawn < 50 else list(rest)

    clock.rows.clear()
    assert guessed(tiny("gemma-3-1b"), Told(say), LONG).ids == true
    assert clock.rows[30:50] == [1] * 20 and SLACK + 1 in clock.rows[50:]


def test_a_proposer_that_takes_time_rests_where_it_loses(tiny: Tiny, clock: Clock) -> None:
    """It is asked for one id after every 64 tokens."""
    expected = plain(tiny("gemma-3-1b"), LONG)
    told = lying(expected.ids, free=False, seconds=0.1)
    assert guessed(tiny("gemma-3-1b"), told, LONG).ids == expected.ids
    late = [(drawn, count) for _, drawn, count in told.asked if drawn > 20]
    assert len(late) == 1 and late[0][1] == 1


def test_a_proposer_whose_time_eats_what_it_brings_is_not_asked(tiny: Tiny, clock: Clock) -> None:
    expected = plain(tiny("gemma-3-1b"), LONG)
    dear = telling(expected.ids, free=False, seconds=5.0)
    guessed(tiny("gemma-3-1b"), dear, LONG)
    assert len(dear.asked) <= 2


def test_a_step_is_judged_without_its_proposers_time(tiny: Tiny, clock: Clock) -> None:
    """Which the proposer states, and which counts as time of the answer."""
    expected = plain(tiny("gemma-3-1b"), LONG)

    def slow(progress: Progress, count: int) -> Sequence[int]:
        clock.now += 7.0
        return expected.ids[progress.drawn : progress.drawn + count]

    told = Told(slow, free=False, seconds=0.01)
    engine = Engine(tiny("gemma-3-1b"), sequences=1, context=128, speculate=told)
    found = engine.generate(Request(ids=PROMPT, sampling=LONG))
    assert engine._speculation is not None
    assert engine._speculation.cost.line() == pytest.approx((0.9, 0.1))
    assert found.usage.decode_seconds > 7.0 * len(told.asked) > 0


# ----------------------------------------------------------------------------------------------------------------------
# Who guesses


def test_auto_looks_up_where_no_text_can_change(tiny: Tiny) -> None:
    model = tiny("gemma-3-1b")
    assert not bit_equal(model)
    assert chosen("auto", model, None) is None is chosen("off", model, None)
    assert isinstance(chosen("lookup", model, None), Lookup)


@pytest.mark.skipif(not calls.available(), reason="no native kernels were built here")
@pytest.mark.parametrize("name", ["gemma-2b", "gemma-2-2b", "gemma-3-1b"])  # the recurrent one is too narrow here
def test_native_blocks_make_auto_look_up(tiny: Tiny, name: str) -> None:
    model = copy.deepcopy(tiny(name)).bfloat16()
    swap(model, SCHEMES["q8_0"])
    assert bit_equal(model)
    assert isinstance(chosen("auto", model, None), Lookup)
    assert chosen("off", model, None) is None
