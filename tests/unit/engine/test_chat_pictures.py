"""Conversations with pictures: each turn is what its rendered messages give, and no picture is encoded twice."""

from __future__ import annotations

import dataclasses
import io
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sight import SOFT, Counting, noise

from gemwright.engine.chat import Chat
from gemwright.engine.engine import Engine
from gemwright.engine.pictures import placed
from gemwright.engine.request import Completion, Request, Sampling
from gemwright.errors import UserError
from gemwright.lm import LM
from gemwright.nn.decoder import Decoder
from gemwright.text.template import BUILT_IN, ChatTemplate
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import Message, render

pytestmark = pytest.mark.usefixtures("one_thread")

Tiny = Callable[[str], Decoder]
NAME = "gemma-3-1b"
LETTERS = {267 + string.ascii_lowercase.index(letter) for letter in "bcfjklmpqsuvwxyz"}  # no merges between them
GREEDY = Sampling(
    temperature=0, max_tokens=8, ignore_eos=True, logit_bias={id: -float("inf") for id in set(range(320)) - LETTERS}
)


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def chat(tiny: Tiny, tokenizer: Tokenizer, counting: Counting) -> Chat:
    return Chat(Engine(tiny(NAME), tokenizer, chunk=7, eyes=counting.eyes()), sampling=GREEDY)


def fresh(tiny: Tiny, tokenizer: Tokenizer, messages: tuple[Message, ...]) -> Completion:
    """The reply to a conversation that is rendered and read from its beginning, at one go."""
    found = render(messages, tokenizer, soft=SOFT)
    request = Request(ids=tuple(found.ids), sampling=GREEDY, images=placed(found.images, SOFT))
    return Engine(tiny(NAME), tokenizer, sequences=1, eyes=Counting().eyes()).generate(request)


def asked(chat: Chat, text: str, images: list[Any]) -> tuple[Message, ...]:
    """The conversation with that message."""
    return (*chat.messages, Message("user", text, tuple(chat.engine.eyes.show(image) for image in images)))


def test_every_turn_is_what_the_rendered_messages_give(chat: Chat, tiny: Tiny, tokenizer: Tokenizer) -> None:
    turns = [("the thing", [noise(1)]), ("and", []), ("on <start_of_image> in", [noise(2)]), ("er", [noise(1)] * 2)]
    for text, images in turns:
        expected = fresh(tiny, tokenizer, asked(chat, text, images))
        before = chat.tokens
        reply = chat.say(text, images=images)
        assert reply.ids == expected.ids
        assert reply.usage.cached == max(0, before - 1)
    assert [len(message.images) for message in chat.messages] == [1, 0, 0, 0, 1, 0, 2, 0]


def test_a_second_question_about_a_picture_does_not_encode_it_again(chat: Chat, counting: Counting) -> None:
    chat.say("the", images=[noise(1)])
    chat.say("and")
    chat.say("on", images=[noise(1)])
    chat.clear()
    chat.say("the", images=[noise(1), noise(2)])
    assert (counting.loads, counting.pictures) == (1, 2)


def test_the_picture_changes_the_answer(chat: Chat) -> None:
    replies = set()
    for seed in range(4):
        chat.clear()
        replies.add(chat.say("the thing", images=[noise(seed)]).ids)
    assert len(replies) > 1


def test_text_alone_loads_no_tower(chat: Chat, counting: Counting) -> None:
    chat.say("the")
    assert "".join(chat.stream("on"))
    assert counting.loads == 0


def test_a_template_of_the_checkpoint_gives_the_same_conversation(chat: Chat, tiny: Tiny, tokenizer: Tokenizer) -> None:
    template = ChatTemplate(BUILT_IN, {"bos_token": "<bos>", "eos_token": "<eos>"})
    own = Chat(Engine(tiny(NAME), tokenizer, eyes=Counting().eyes()), sampling=GREEDY, template=template)
    for text, images in (("the", [noise(1)]), ("and", [noise(2)]), ("on", [])):
        assert own.say(text, images=images).ids == chat.say(text, images=images).ids
    assert own.last is not None and own.last.usage.cached > 2 * SOFT


def test_a_restored_conversation_sees_its_pictures(chat: Chat, tiny: Tiny, tokenizer: Tokenizer) -> None:
    chat.say("the", images=[noise(1)])
    other = Chat(Engine(tiny(NAME), tokenizer, eyes=Counting().eyes()), sampling=GREEDY)
    other.restore(chat.transcript())
    assert other.transcript() == chat.transcript()
    assert other.say("and", images=[noise(2)]).ids == chat.say("and", images=[noise(2)]).ids


def test_pictures_are_not_restored_where_the_model_sees_none(chat: Chat, tiny: Tiny, tokenizer: Tokenizer) -> None:
    chat.say("the", images=[noise(1)])
    blind = Chat(Engine(tiny(NAME), tokenizer), sampling=GREEDY)
    blind.say("on")
    before = blind.transcript()
    with pytest.raises(UserError, match="sees no pictures"):
        blind.restore(chat.transcript())
    assert blind.transcript() == before
    wrong = dataclasses.replace(chat.transcript(), images=(dataclasses.replace(chat.transcript().images[0], count=3),))
    with pytest.raises(ValueError, match="soft tokens"):
        chat.restore(wrong)


def test_a_refused_message_leaves_no_picture_behind(chat: Chat, tiny: Tiny, tokenizer: Tokenizer) -> None:
    chat.say("the", images=[noise(1)])
    before = chat.transcript()
    for text, images in (("<start_of_image>", [noise(2)] * 2), ("on", [b"no picture"]), ("and then " * 90, [noise(2)])):
        with pytest.raises(UserError):
            chat.say(text, images=images)
        assert chat.transcript() == before
    expected = fresh(tiny, tokenizer, asked(chat, "on", [noise(3)]))
    assert chat.say("on", images=[noise(3)]).ids == expected.ids


def test_a_message_interrupted_while_its_picture_is_encoded_is_taken_back(
    chat: Chat, tiny: Tiny, tokenizer: Tokenizer, counting: Counting
) -> None:
    chat.say("the", images=[noise(1)])
    before = chat.transcript()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    hook = counting.tower.encoder.layers[0].register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        chat.say("and then", images=[noise(2)])
    hook.remove()
    assert chat.transcript() == before and len(chat.engine._looking) == 0
    expected = fresh(tiny, tokenizer, asked(chat, "and then", [noise(2)]))
    assert chat.say("and then", images=[noise(2)]).ids == expected.ids


# ------------------------------------------------------------------------------------------------- without a chat


@pytest.fixture
def lm(tiny: Tiny, tokenizer: Tokenizer) -> LM:
    return LM(tiny(NAME), tokenizer, eyes=Counting().eyes())


def test_a_picture_may_be_a_path_bytes_a_pillow_image_or_an_array(lm: LM, tmp_path: Path) -> None:
    array, buffer = noise(1), io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    sources: list[Any] = [tmp_path / "a.png", str(tmp_path / "a.png"), buffer.getvalue(), Image.fromarray(array), array]
    found = {lm.generate("the", GREEDY, images=[source]).ids for source in sources}
    assert len(found) == 1
    assert "".join(lm.stream("the", GREEDY, images=[array])) == lm.generate("the", GREEDY, images=[array]).text


def test_pan_scan_shows_the_crops(lm: LM) -> None:
    wide = noise(1, width=600, height=300)
    plain, cut = (lm.request("the", images=[wide], pan_scan=cut) for cut in (False, True))
    assert (len(plain.images), len(cut.images)) == (1, 3)
    assert plain.images[0].picture == cut.images[0].picture


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_ids_of_pictures_beyond_the_table_are_never_looked_up(lm: LM, penalty: float) -> None:
    request = lm.request("the", dataclasses.replace(GREEDY, repetition_penalty=penalty), images=[noise(1)])
    beyond = tuple(10**6 if id == 303 else id for id in request.ids)
    assert beyond != request.ids
    changed = dataclasses.replace(request, ids=beyond)
    assert lm.engine.generate(changed).ids == lm.engine.generate(request).ids


def test_ids_with_pictures_are_a_request(lm: LM) -> None:
    with pytest.raises(UserError, match="text"):
        lm.generate([2, 5], images=[noise(1)])


def test_a_model_without_eyes_says_so(tiny: Tiny, tokenizer: Tokenizer, lm: LM) -> None:
    blind = LM(tiny(NAME), tokenizer)
    for ask in (blind.generate, blind.chat().say):
        with pytest.raises(UserError, match="sees no pictures"):
            ask("the", images=[noise(1)])
    with pytest.raises(UserError, match="sees no pictures"):
        blind.engine.submit(lm.request("the", images=[noise(1)]))


def test_a_tower_of_another_width_is_misuse(tiny: Tiny, tokenizer: Tokenizer) -> None:
    wrong = LM(tiny(NAME), tokenizer, eyes=Counting(width=48).eyes())
    with pytest.raises(ValueError, match="width of 48"):
        wrong.generate("the", images=[noise(1)])
