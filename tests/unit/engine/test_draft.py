"""A second model guesses for the first."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from gemwright.engine import speculate
from gemwright.engine.draft import Draft, check_vocabularies
from gemwright.engine.engine import Engine
from gemwright.engine.request import Completion, Request, Sampling
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.text.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

Tiny = Callable[[str], Decoder]
GREEDY = Sampling(temperature=0, max_tokens=28, ignore_eos=True)


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """All guesses are run, whatever they are worth."""
    monkeypatch.setattr(speculate, "worth", lambda offers, **_: [length for length, _ in offers])


def prompt(length: int, seed: int = 0) -> tuple[int, ...]:
    drawn = torch.randint(9, 303, (length - 1,), generator=torch.Generator().manual_seed(seed))
    return (2, *drawn.tolist())


def run(model: Decoder, draft: Draft | None, *requests: Request, **settings: Any) -> list[Completion]:
    chosen: dict[str, Any] = {"context": 128, "sequences": 2} | settings
    return Engine(model, speculate=draft, **chosen).run(requests)


def changed(model: Decoder, **spec: Any) -> Decoder:
    """A copy that says something else of itself, with as many rows in its table as it says."""
    twin = copy.deepcopy(model)
    twin.spec = replace(model.spec, **spec)
    table = twin.embed.weight.detach()
    more = torch.zeros(max(0, twin.spec.vocab - len(table)), table.shape[1])
    twin.embed.weight = torch.nn.Parameter(torch.cat([table, more])[: twin.spec.vocab])
    return twin


def test_the_model_itself_guesses_all(tiny: Tiny, family: str) -> None:
    """Sampled too; and in three requests on two places."""
    requests = [
        Request(ids=prompt(5 + at, at), sampling=Sampling(seed=at, max_tokens=20, ignore_eos=True)) for at in range(3)
    ]
    found = run(tiny(family), Draft(tiny(family)), *requests)
    assert [one.ids for one in found] == [one.ids for one in run(tiny(family), None, *requests)]
    for one in found:
        assert one.usage.accepted == one.usage.proposed > 15


def test_another_model_guesses_something(tiny: Tiny, family: str) -> None:
    """The same one with a little noise on every weight."""
    noisy = copy.deepcopy(tiny(family))
    with torch.no_grad():
        for parameter in noisy.parameters():
            parameter += 0.02 * parameter.std() * torch.randn_like(parameter) if parameter.numel() > 1 else 0
    request = Request(ids=prompt(9), sampling=Sampling(temperature=0, max_tokens=80, ignore_eos=True))
    found, expected = run(tiny(family), Draft(noisy), request)[0], run(tiny(family), None, request)[0]
    assert found.ids == expected.ids
    assert 0 < found.usage.accepted < found.usage.proposed


def test_a_long_prompt_is_read_in_parts(tiny: Tiny) -> None:
    """As many ids in one step as the engine reads, and until all is read no guess."""
    model, draft = tiny("gemma-2b"), Draft(tiny("gemma-2b"))
    engine = Engine(model, context=128, sequences=1, chunk=16, speculate=draft)
    key = engine.submit(Request(ids=prompt(60), sampling=GREEDY))
    events = [len(engine.step()) for _ in range(8)]
    assert events == [0, 0, 0, 1, 1, 1, 1, 9]  # 4 steps read 60 ids; 3 read in the draft; the next one guesses 8
    engine.cancel(key)


def test_a_place_that_was_left_is_there_for_others(tiny: Tiny, family: str) -> None:
    """Five requests, one after the other, on two places."""
    draft = Draft(tiny(family))
    engine = Engine(tiny(family), context=128, sequences=2, speculate=draft)
    for at in range(5):
        found = engine.generate(Request(ids=prompt(4, at), sampling=Sampling(temperature=0, max_tokens=3)))
        assert found.usage.accepted == found.usage.proposed == 1
    assert not draft._seats and 1 <= len(draft._left) <= 2


def test_the_next_turn_goes_on_from_what_the_draft_has_read(tiny: Tiny, family: str) -> None:
    model, twin, rows = tiny(family), copy.deepcopy(tiny(family)), list[int]()
    twin.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    engine = Engine(model, context=256, sequences=2, speculate=Draft(twin))
    first = Request(ids=prompt(60), sampling=GREEDY)
    second = Request(ids=(*first.ids, *engine.generate(first).ids, 33, 21, 18), sampling=GREEDY)
    assert rows[0] == 61
    rows.clear()
    found = engine.generate(second)
    assert found.ids == run(model, None, second, context=256)[0].ids
    assert max(rows) < 16 and found.usage.accepted == found.usage.proposed > 20


def test_a_sequence_longer_than_the_drafts_context_goes_on_alone(tiny: Tiny) -> None:
    request = Request(ids=prompt(9), sampling=GREEDY)
    found = run(tiny("gemma-2b"), Draft(changed(tiny("gemma-2b"), context=24)), request)[0]
    assert found.ids == run(tiny("gemma-2b"), None, request)[0].ids
    assert 0 < found.usage.proposed == found.usage.accepted < 24 - 9


@pytest.mark.parametrize("rows", [304, 340])
def test_tables_may_differ_in_padding(tiny: Tiny, rows: int) -> None:
    request = Request(ids=prompt(9), sampling=GREEDY)
    found = run(tiny("gemma-2b"), Draft(changed(tiny("gemma-2b"), vocab=rows)), request)[0]
    assert found.ids == run(tiny("gemma-2b"), None, request)[0].ids
    assert found.usage.accepted > 0


def test_an_interrupted_guess_is_made_again(tiny: Tiny, family: str) -> None:
    model, twin = tiny(family), copy.deepcopy(tiny(family))
    engine, calls = Engine(model, context=128, sequences=1, speculate=Draft(twin)), 0

    def stop(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls in (1, 4, 12):
            raise KeyboardInterrupt

    twin.layers[-1].register_forward_pre_hook(stop)
    request, stops = Request(ids=prompt(9), sampling=GREEDY), 0
    key, found = engine.submit(request), None
    while found is None:
        try:
            found = [event.completion for event in engine.events(key)][-1]
        except KeyboardInterrupt:
            stops += 1
    assert stops == 3
    assert found.ids == run(model, None, request)[0].ids
    assert found.usage.accepted == found.usage.proposed


def test_another_tokenizer_is_refused(tiny: Tiny, tokenizer: Tokenizer, tmp_path) -> None:
    source = tokenizer.source.read_text("utf-8")
    (tmp_path / "tokenizer.json").write_text(source.replace('"q"', '"Q"'), encoding="utf-8")
    other = Tokenizer.load(tmp_path)
    check_vocabularies(tokenizer, tokenizer)
    with pytest.raises(UserError, match=r"another tokenizer: id \d+ is 'Q' there and 'q' here"):
        check_vocabularies(tokenizer, other)
    with pytest.raises(UserError, match="another tokenizer"):
        Engine(tiny("gemma-2b"), tokenizer, speculate=Draft(tiny("gemma-2b"), other))
