"""Conversations on disk, and their twins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors import safe_open
from sight import SOFT, Counting, noise

from gemwright.cache.snapshot import read_note
from gemwright.engine.chat import Chat
from gemwright.engine.engine import Engine
from gemwright.engine.request import Sampling
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.text.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

Tiny = Callable[[str], Decoder]
GREEDY = Sampling(temperature=0, max_tokens=9)


@pytest.fixture
def begin(tiny: Tiny, tokenizer: Tokenizer) -> Callable[..., Chat]:
    def begin(family: str, **settings: Any) -> Chat:
        chosen: dict[str, Any] = {"context": 200, "sequences": 2}
        engine = Engine(tiny(family), tokenizer, **(chosen | settings))
        return Chat(engine, system="be brief", sampling=GREEDY)

    return begin


Begin = Callable[..., Chat]


@pytest.mark.feature("sessions")
def test_a_saved_conversation_goes_on_without_reading(begin: Begin, family: str, tmp_path: Path) -> None:
    chat, other = begin(family), begin(family)
    chat.say("the thing")
    chat.save(tmp_path / "talk")
    other.open(tmp_path / "talk")
    assert other.transcript() == chat.transcript() and other.cache_bytes == chat.cache_bytes > 0
    expected, found = chat.say("and then"), other.say("and then")
    assert found.ids == expected.ids and found.usage.cached == expected.usage.cached > 10


def test_what_was_open_before_is_given_up(begin: Begin, tmp_path: Path) -> None:
    chat = begin("gemma-3-1b")
    chat.say("the thing")
    chat.save(tmp_path / "talk")
    for _ in range(5):
        chat.open(tmp_path / "talk")
    assert len(chat.engine.idle) == 1
    chat.clear()
    assert not any(any(store._shares.owners) for store in chat.engine.cache.stores)  # type: ignore[attr-defined]


def test_a_conversation_without_a_turn_can_be_saved(begin: Begin, tmp_path: Path) -> None:
    begin("gemma-2b").save(tmp_path / "talk")
    chat = begin("gemma-2b")
    chat.clear("other")
    chat.open(tmp_path / "talk")
    assert (chat.system, chat.messages[1:], chat.cache_bytes) == ("be brief", (), 0)


def test_another_model_or_cache_is_refused(begin: Begin, tmp_path: Path) -> None:
    chat = begin("gemma-3-1b")
    chat.say("the thing")
    chat.save(tmp_path / "talk")
    for other in (begin("gemma-2-2b"), begin("gemma-3-1b", int8_cache=True)):
        other.say("a")
        before = (other.transcript(), other.cache_bytes)
        with pytest.raises(UserError, match="another model"):
            other.open(tmp_path / "talk")
        assert (other.transcript(), other.cache_bytes) == before


@pytest.mark.feature("sessions")
@pytest.mark.parametrize("cut", [0.6, 0.98])
def test_a_damaged_memory_is_named_and_read_again(begin: Begin, family: str, tmp_path: Path, cut: float) -> None:
    path = tmp_path / "talk"
    chat, other = begin(family), begin(family)
    chat.say("the thing")
    chat.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(cut * len(data))])
    with pytest.warns(UserWarning, match="talk is no whole saved sequence"):
        other.open(path)
    assert other.transcript() == chat.transcript() and other.cache_bytes == 0
    found, expected = other.say("and then"), chat.say("and then")
    assert found.usage.cached == 0 and found.ids == expected.ids


def test_a_file_whose_words_are_damaged_is_refused(begin: Begin, tmp_path: Path) -> None:
    path, chat = tmp_path / "talk", begin("gemma-2b")
    chat.say("the thing")
    chat.save(path)
    path.write_bytes(path.read_bytes().replace(b"the thing", b"the sting"))
    with pytest.raises(UserError, match="damaged"):
        chat.open(path)


def test_a_busy_engine_reads_the_conversation_again_later(begin: Begin, tmp_path: Path) -> None:
    chat = begin("gemma-3-1b", sequences=1)
    chat.say("the thing")
    chat.save(tmp_path / "talk")
    other = Chat(chat.engine, sampling=GREEDY)
    stream = other.stream("a")
    next(stream)
    chat.open(tmp_path / "talk")
    assert chat.cache_bytes == 0
    list(stream)
    assert chat.say("and then").usage.cached == 0


@pytest.mark.feature("sessions", family="RecurrentGemma")
def test_a_recurrent_models_memory_does_not_grow(begin: Begin, tmp_path: Path) -> None:
    """A longer conversation's file is larger by its words and ids alone."""

    def rest(path: Path) -> int:
        with safe_open(path, framework="pt") as file:
            ids = 8 * len(file.get_tensor("ids"))
        header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
        assert len(read_note(path)) < header
        return path.stat().st_size - header - ids

    sizes = []
    for family in ("recurrentgemma-2b", "gemma-2b"):
        chat = begin(family)
        for turn, text in enumerate(("the thing", "and then", "the thing and the other thing")):
            chat.say(text)
            chat.save(tmp_path / f"{turn}")
        sizes.append([rest(tmp_path / f"{turn}") for turn in range(3)])
    recurrent, plain = sizes
    assert len(set(recurrent)) == 1 and len(set(plain)) == 3


def test_pictures_are_not_seen_again(begin: Begin, tmp_path: Path) -> None:
    Image.fromarray(noise(1)).save(tmp_path / "cat.png")
    towers = Counting(), Counting()
    chat, other = (begin("gemma-3-1b", eyes=tower.eyes()) for tower in towers)
    chat.say("what is it", images=[tmp_path / "cat.png"])
    chat.save(tmp_path / "talk")
    other.open(tmp_path / "talk")
    assert other.say("and then").ids == chat.say("and then").ids
    assert other.last is not None and other.last.usage.cached > SOFT
    assert [tower.pictures for tower in towers] == [1, 0]
    Image.fromarray(noise(2)).save(tmp_path / "cat.png")
    with pytest.raises(UserError, match="not the picture"):
        other.open(tmp_path / "talk")


@pytest.mark.feature("sessions")
def test_a_twin_goes_its_own_way(begin: Begin, family: str) -> None:
    chat, other = begin(family, sequences=3), begin(family)
    for one in (chat, other):
        one.say("the thing")
    twin = chat.fork()
    assert twin.transcript() == chat.transcript()
    found = twin.say("something else")
    assert found.usage.cached > 10 and found.ids == other.fork().say("something else").ids
    assert chat.say("and then").ids == other.say("and then").ids
    assert twin.messages[-2].text == "something else" and chat.messages[-2].text == "and then"


def test_a_twin_without_a_place_reads_again(begin: Begin) -> None:
    chat = begin("gemma-3-1b", sequences=1)
    chat.say("the thing")
    twin = chat.fork()
    assert twin.cache_bytes == 0 < chat.cache_bytes
    assert twin.say("and then").ids == chat.say("and then").ids
