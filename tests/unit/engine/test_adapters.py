"""Requests that name an adapter, and what is kept of them for later ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch

from gemwright.engine.chat import Chat
from gemwright.engine.engine import Engine
from gemwright.engine.prefix import path, shared
from gemwright.engine.progress import Session
from gemwright.engine.request import Request, Sampling
from gemwright.errors import UserError
from gemwright.nn.adapters import Adapters
from gemwright.nn.decoder import Decoder
from gemwright.nn.linear import Linear
from gemwright.ops.low_rank import Adapter, LowRank
from gemwright.text.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

IDS = tuple([2, *range(40, 80)])
GREEDY = Sampling(temperature=0, max_tokens=6, ignore_eos=True)


def loud(model: Decoder, seed: int) -> Adapter:
    """An adapter on every matrix that changes what is said."""
    generator = torch.Generator().manual_seed(seed)
    modules = {}
    for name, module in model.named_modules():
        if isinstance(module, Linear):
            a = torch.randn(3, module.in_features, generator=generator) / module.in_features**0.5
            b = torch.randn(module.out_features, 3, generator=generator)
            modules[name] = LowRank(a=a, b=b, alpha=3.0, rslora=False)
    return Adapter(modules=modules, dropout=0.0, base=None)


@pytest.fixture
def begin(tiny: Callable[[str], Decoder], tokenizer: Tokenizer) -> Callable[..., Engine]:
    def begin(family: str = "gemma-3-1b", **settings: int) -> Engine:
        model = tiny(family)
        adapters = Adapters(model.spec, "cpu")
        for seed, name in enumerate(("red", "blue")):
            adapters.add(name, loud(model, seed))
        chosen = {"context": 200, "sequences": 2, "reuse": 4} | settings
        return Engine(model, tokenizer, adapters=adapters, **chosen)  # type: ignore[arg-type]

    return begin


Begin = Callable[..., Engine]


def ask(adapter: str | None, ids: tuple[int, ...] = IDS) -> Request:
    return Request(ids=ids, sampling=GREEDY, adapter=adapter)


def test_requests_together_say_what_each_says_alone(begin: Begin, family: str) -> None:
    names = (None, "red", "blue")
    together = begin(family, sequences=3).run([ask(name) for name in names])
    assert len({one.ids for one in together}) == 3, "an adapter must say something"
    for name, one in zip(names, together, strict=True):
        assert begin(family).generate(ask(name)).ids == one.ids


def test_a_kept_beginning_serves_its_own_adapter_alone(begin: Begin, family: str) -> None:
    engine = begin(family)
    first = {name: engine.generate(ask(name)) for name in (None, "red", "blue")}
    assert [one.usage.cached for one in first.values()] == [0, 0, 0]
    for name, one in first.items():
        again = engine.generate(ask(name))
        assert (again.ids, again.usage.cached > 30) == (one.ids, True)


def test_a_session_that_changes_its_adapter_is_read_anew(begin: Begin, family: str) -> None:
    engine, session = begin(family, reuse=0), Session()
    engine.generate(ask("red"), session)
    longer = (*IDS, 90, 91)
    changed = engine.generate(ask("blue", longer), session)
    assert changed.usage.cached == 0 and changed.ids == begin(family).generate(ask("blue", longer)).ids
    assert engine.generate(ask("blue", (*longer, 92)), session).usage.cached > 0


def test_paths_under_different_adapters_share_nothing() -> None:
    paths = [path(IDS, (), name) for name in ("", "red", "blue")]
    assert [shared(some, other) for some in paths for other in paths] == [41, 0, 0, 0, 41, 0, 0, 0, 41]
    assert shared(path(IDS, (), "red"), path((3, *IDS[1:]), (), "red")) == 0
    assert all(numpy.array_equal(one[1:], paths[0][1:]) for one in paths) and paths[1][0] < 0


def test_an_unknown_adapter_is_refused_with_the_known_ones(begin: Begin) -> None:
    engine = begin()
    for wrong in (lambda: engine.generate(ask("green")), lambda: Chat(engine, adapter="green")):
        with pytest.raises(UserError, match="no adapter is called 'green'") as caught:
            wrong()
        assert "red, blue" in str(caught.value)
    assert not engine.busy


def test_adapters_come_and_go_while_the_engine_lives(begin: Begin) -> None:
    engine = begin()
    expected = engine.generate(ask("red")).ids
    key = engine.submit(ask("red"))
    engine.step()
    with pytest.raises(UserError, match="the adapter 'red' is in use, by 1"):
        engine.adapters.remove("red")
    engine.adapters.remove("blue")
    engine.cancel(key)
    engine.adapters.remove("red")
    engine.adapters.add("red", loud(engine.model, 7))
    other = engine.generate(ask("red"))
    assert other.ids != expected and other.usage.cached == 0
    engine.adapters.remove("red")
    engine.adapters.add("crimson", loud(engine.model, 0))
    again = engine.generate(ask("crimson"))  # the same adapter under another name
    assert again.ids == expected and again.usage.cached > 0


def test_a_refused_request_holds_nothing(begin: Begin) -> None:
    engine = begin()
    with pytest.raises(UserError, match="ids go from"):
        engine.submit(ask("red", (2, 999999)))
    engine.adapters.remove("red")


# ----------------------------------------------------------------------------------------------------------------------
# Conversations


def test_a_conversation_has_its_adapter_throughout(begin: Begin) -> None:
    engine = begin()
    chats = {name: Chat(engine, sampling=GREEDY, adapter=name) for name in (None, "red")}
    first = {name: chat.say("the thing").ids for name, chat in chats.items()}
    assert first[None] != first["red"]
    second = chats["red"].say("and then")
    assert second.usage.cached > 10
    assert begin().generate(ask("red", chats["red"].ids[: second.usage.prompt])).ids == second.ids


def test_a_saved_conversation_goes_on_under_its_adapter(begin: Begin, family: str, tmp_path: Path) -> None:
    chat = Chat(begin(family), sampling=GREEDY, adapter="red")
    chat.say("the thing")
    chat.save(tmp_path / "talk")
    expected = chat.say("and then")
    other = Chat(begin(family), sampling=GREEDY, adapter="red")
    other.open(tmp_path / "talk")
    found = other.say("and then")
    assert (found.ids, found.usage.cached) == (expected.ids, expected.usage.cached) and found.usage.cached > 10


@pytest.mark.parametrize(
    ("saved", "opened", "said"),
    [
        ("red", "blue", "with another adapter"),
        ("red", None, "with another adapter"),
        (None, "red", "without an adapter"),
    ],
)
def test_a_saved_conversation_is_refused_under_another_adapter(
    begin: Begin, tmp_path: Path, saved: str | None, opened: str | None, said: str
) -> None:
    chat = Chat(begin(), sampling=GREEDY, adapter=saved)
    chat.say("the thing")
    chat.save(tmp_path / "talk")
    other = Chat(begin(), sampling=GREEDY, adapter=opened)
    other.say("a")
    before = (other.transcript(), other.cache_bytes)
    with pytest.raises(UserError, match=f"was saved {said}"):
        other.open(tmp_path / "talk")
    assert (other.transcript(), other.cache_bytes) == before


def test_a_twin_keeps_the_adapter(begin: Begin) -> None:
    chat = Chat(begin(reuse=0), sampling=GREEDY, adapter="red")
    chat.say("the thing")
    twin = chat.fork()
    expected, found = chat.say("and then"), twin.say("and then")
    assert found.ids == expected.ids and found.usage.cached > 10
