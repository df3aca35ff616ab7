"""Many conversations at once get the answers that a chat gives alone."""

from __future__ import annotations

import pytest

from gemwright.engine.request import Sampling
from gemwright.errors import UserError
from gemwright.evals import answers
from gemwright.evals.answers import ask, prompt
from gemwright.lm import LM
from gemwright.tasks.pictures.draw import picture
from gemwright.tasks.split import items
from gemwright.text.template import BUILT_IN, ChatTemplate
from gemwright.text.turns import Message

GREEDY = Sampling(temperature=0, max_tokens=12)


def question(words: str) -> list[Message]:
    return [Message("user", words)]


def test_each_answer_is_the_one_that_a_chat_gives_alone(lm: LM) -> None:
    texts = ["print the help", "an option " * 9, "why?", "the parser of arguments " * 4, "a", "b c d"]
    asked = ask(lm, [question(text) for text in texts], sampling=GREEDY, sequences=3)
    for text, one in zip(texts, asked, strict=True):
        alone = lm.chat(sampling=GREEDY).say(text)
        assert one.answer is not None and one.answer.ids == alone.ids and one.text == alone.text
    assert len({one.text for one in asked}) > 1


def test_an_answer_about_a_picture_is_the_one_that_a_chat_gives_alone(seeing: LM) -> None:
    pictures = [picture(item) for item in items("pictures", "test", count=4)]
    asked = ask(seeing, [[Message("user", "Which colour?", (one,))] for one in pictures], sampling=GREEDY, sequences=3)
    alone = [seeing.chat(sampling=GREEDY).say("Which colour?", images=[one]) for one in pictures]
    assert [one.answer and one.answer.ids for one in asked] == [one.ids for one in alone]
    assert len({one.text for one in asked}) > 1  # the words are the same: the pictures tell them apart


def test_a_longer_conversation_goes_on_as_its_chat_does(lm: LM) -> None:
    chat = lm.chat(system="Be brief.", sampling=GREEDY)
    chat.say("print the help")
    said = chat.messages
    (one,) = ask(lm, [[*said, Message("user", "and the options")]], sampling=GREEDY)
    ids = prompt(lm, [*said, Message("user", "and the options")])
    assert one.prompt == ids and one.answer is not None
    assert one.answer.ids == lm.generate(ids, GREEDY).ids


def test_a_checkpoints_own_layout_is_used(lm: LM) -> None:
    assert lm.tokenizer is not None
    template = ChatTemplate("{{ bos_token }}{{ messages[0]['content'] }}:", {"bos_token": "<bos>"})
    own = LM(lm.model, lm.tokenizer, template=template)
    assert prompt(own, question("help")) == (lm.tokenizer.bos, *lm.tokenizer.encode("help"), *lm.tokenizer.encode(":"))
    built_in = LM(lm.model, lm.tokenizer, template=ChatTemplate(BUILT_IN, {"bos_token": "<bos>"}))
    assert prompt(built_in, question("help")) == prompt(lm, question("help"))


def test_what_leaves_no_room_for_an_answer_is_not_asked(lm: LM) -> None:
    short, long = ask(lm, [question("help"), question("the parser " * 400)], sampling=GREEDY)
    assert short.answer is not None and len(long.prompt) > 256
    assert long.answer is None and long.text == "" and long.tokens == 0


def test_the_cache_is_as_long_as_the_questions_need(lm: LM) -> None:
    assert answers.wide_engine(lm, 20, 12, sequences=2).context == 32
    assert answers.wide_engine(lm, 250, 12, sequences=2).context == 256
    assert answers.wide_engine(lm, 20, None, sequences=2).context == 256


def test_progress_counts_answers(lm: LM) -> None:
    told: list[int] = []
    ask(lm, [question(text) for text in "abcde"], sampling=GREEDY, sequences=2, on_done=told.append)
    assert told == sorted(told) and told[-1] == 5


def test_an_interrupt_leaves_nothing_at_work(lm: LM) -> None:
    engine = answers.wide_engine(lm, 40, 12, sequences=2)
    requests = [answers.Request(ids=prompt(lm, question(text)), sampling=GREEDY) for text in "abc"]

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answers.run_all(engine, requests, stop)
    assert not engine.busy


def test_a_model_that_cannot_converse_is_told_what_it_can_do(lm: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no tokenizer"):
        prompt(LM(lm.model), question("help"))
    monkeypatch.setattr(lm.tokenizer, "end_of_turn", None)
    with pytest.raises(UserError, match="no turn marks") as found:
        prompt(lm, question("help"))
    assert "perplexity" in found.value.hint
