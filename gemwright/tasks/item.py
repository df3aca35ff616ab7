"""One question: the conversation so far, the answer a model is trained to give, and what its judge needs to know."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from gemwright.text.turns import Message

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
KNOWN = ""  # the key of an item that is trained on and never tested
_FILE_ROLES = {"system": "system", "user": "user", "model": "assistant"}  # as most readers of chat files spell them
_ROLES = {name: role for role, name in _FILE_ROLES.items()} | {"model": "model"}


def chat_data(messages: Iterable[Message]) -> list[JSON]:
    """Messages as a line of chat data has them: {"role": "system", "user" or "assistant", "content": text}."""
    return [{"role": _FILE_ROLES[message.role], "content": message.text} for message in messages]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question.

    `skill` names the file that drew it and judges it, `task` the function in that file. `messages` ends with the
    user's turn; a dialogue has earlier turns of both sides. `ideal` is the answer that a model is trained to give.
    `key` decides the side of the split: two items with one prompt always share it, and it leaves out what does not
    make a question another question (the wording; the order of two numbers to add). `parts` are the keys of questions
    that the ideal answers on its way, which must lie on the same side. The key `KNOWN` marks what every training sees
    anyway: it is never tested on. `check` is what the judge needs, in JSON values; under "scene" it holds what the
    picture shows that the last message asks about, where there is one (`pictures.draw` draws it).
    """

    skill: str
    task: str
    messages: tuple[Message, ...]
    ideal: str
    key: str
    check: Mapping[str, Any]
    parts: tuple[str, ...] = ()

    def conversation(self) -> tuple[Message, ...]:
        """The messages, with the ideal as the model's last turn: what supervised training reads."""
        return (*self.messages, Message("model", self.ideal))

    def prompt(self) -> str:
        """All messages, each normalised, a line each, and what the picture shows, if there is one: equal for items that
        differ in case or punctuation only."""
        said = [normalise(message.text) for message in self.messages]
        return "\n".join(said if self.scene is None else [*said, json.dumps(self.scene, sort_keys=True)])

    @property
    def scene(self) -> Mapping[str, Any] | None:
        """The record of the scene that the item asks about; None for an item without a picture."""
        return self.check.get("scene")

    def to_json(self) -> dict[str, JSON]:
        """A record of a JSON Lines file. Its `messages` are the whole conversation, the ideal last, as
        {"role": "user" or "assistant", "content": text}, so that the record is a line of chat data too. Of an item with
        a picture only the scene is there: `write.record` adds the picture itself."""
        names: dict[str, JSON] = {"skill": self.skill, "task": self.task, "key": self.key, "parts": list(self.parts)}
        return names | {"messages": chat_data(self.conversation()), "check": dict(self.check)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Item:
        """The item that `to_json` gave the record of. Raises `ValueError` for a record that is none."""
        try:
            turns = [Message(_ROLES[turn["role"]], turn["content"]) for turn in record["messages"]]
            *asked, answer = turns
            skill, task, key = record["skill"], record["task"], record["key"]
            check, parts = dict(record["check"]), tuple(record["parts"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a record of an item: {error!r}") from error
        if not asked or asked[-1].role != "user" or answer.role != "model":
            raise ValueError("not a record of an item: its messages do not end with a user's turn and the answer")
        messages, ideal = tuple(asked), answer.text
        return cls(skill=skill, task=task, messages=messages, ideal=ideal, key=key, check=check, parts=parts)


@dataclass(frozen=True)
class Verdict:
    """What a judge says: `score` from 0 to 1, and why it is not 1 (empty where it is)."""

    score: float
    reason: str


Draw: TypeAlias = Callable[[random.Random], Item]
"""Draws one item of a task. Everything it chooses comes from the generator it is given."""

RIGHT = Verdict(1.0, "")


def wrong(reason: str) -> Verdict:
    """Score 0, and why."""
    return Verdict(0.0, reason)


def user(text: str) -> tuple[Message, ...]:
    """A conversation of one question."""
    return (Message("user", text),)


def normalise(text: str) -> str:
    """The words of a text: compatibility forms, case and punctuation undone, one space between words."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    spaced = "".join(character if unicodedata.category(character)[0] in "LMNS" else " " for character in folded)
    return " ".join(spaced.split())
