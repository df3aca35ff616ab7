"""Items survive a file, and prompts that say the same look the same."""

from __future__ import annotations

import json

import pytest

from gemwright.tasks.item import Item, normalise, user
from gemwright.text.turns import Message

DIALOGUE = Item(
    skill="dialogue",
    task="remember",
    messages=(Message("user", "I am Zoë."), Message("model", "Hello."), Message("user", "Who am I?")),
    ideal="Zoë.",
    key="dialogue zoë",
    check={"holds": ["Zoë"], "lacks": []},
    parts=("one", "two"),
)


def test_an_item_survives_json() -> None:
    assert Item.from_json(json.loads(json.dumps(DIALOGUE.to_json()))) == DIALOGUE


def test_a_record_is_a_line_of_chat_data_with_the_ideal_last() -> None:
    assert DIALOGUE.to_json()["messages"] == [
        {"role": "user", "content": "I am Zoë."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Who am I?"},
        {"role": "assistant", "content": "Zoë."},
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"messages": []},
        {"messages": [{"role": "user", "content": "?"}]},
        {"messages": [{"role": "assistant", "content": "!"}]},
        {"messages": [{"role": "robot", "content": "!"}]},
        {"messages": None},
        {"check": None},
        {"check": 3},
        {"skill": ...},
    ],
)
def test_what_is_no_record_is_refused(change: dict[str, object]) -> None:
    record = {key: value for key, value in (DIALOGUE.to_json() | change).items() if value is not ...}
    with pytest.raises(ValueError, match="not a record of an item"):
        Item.from_json(record)


def test_prompts_that_differ_in_case_marks_and_spaces_are_normalised_alike() -> None:
    assert (
        normalise("  What is “THE code”,\nplease? ")
        == normalise("what is the code please")
        == "what is the code please"
    )
    assert normalise("ΣΚΎΛΟΣ") == normalise("σκύλος")
    assert normalise("8 + 5") != normalise("8 5")


def test_a_prompt_counts_every_turn() -> None:
    assert user("Who am I?")[0].text == DIALOGUE.messages[-1].text
    assert DIALOGUE.prompt() == "i am zoë\nhello\nwho am i"


def test_the_same_words_about_another_picture_are_another_prompt() -> None:
    one, other, none = (
        Item(skill="s", task="t", messages=user("What is it?"), ideal="!", key="k", check=check)
        for check in ({"scene": {"width": 1}}, {"scene": {"width": 2}}, {})
    )
    assert len({one.prompt(), other.prompt(), none.prompt()}) == 3
    again = Item.from_json(json.loads(json.dumps(one.to_json())))
    assert again.prompt() == one.prompt() and again.scene == {"width": 1} and none.scene is None
