"""The skills there are, in the order in which they are listed, and the judge of any item.

`SKILLS` can be asked of any model that reads; `SEEN` are questions about pictures, for models that see.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gemwright.tasks import (
    arithmetic,
    dialogue,
    instructions,
    languages,
    manipulation,
    refusals,
    retrieval,
    word_problems,
)
from gemwright.tasks.item import Draw, Item, Verdict
from gemwright.tasks.pictures import questions as pictures


class Skill(Protocol):
    """What a skill's file holds: its name, its tasks by name, and the judge of all their items."""

    @property
    def SKILL(self) -> str: ...

    @property
    def TASKS(self) -> Mapping[str, Draw]: ...

    def judge(self, item: Item, answer: str, /) -> Verdict: ...


SKILLS: tuple[Skill, ...] = (
    arithmetic,
    word_problems,
    instructions,
    languages,
    retrieval,
    manipulation,
    dialogue,
    refusals,
)
SEEN: tuple[Skill, ...] = (pictures,)
EVERY: tuple[Skill, ...] = SKILLS + SEEN


def named(name: str) -> Skill:
    """The skill of that name. Raises `ValueError`, which lists them all, where there is none."""
    for skill in EVERY:
        if name == skill.SKILL:
            return skill
    raise ValueError(f"there is no skill {name!r}, only {', '.join(skill.SKILL for skill in EVERY)}")


def sees(name: str) -> bool:
    """Are the items of that skill or task ("pictures/count") about pictures, which not every model sees?"""
    return named(name.partition("/")[0]) in SEEN


def tasks(which: str) -> tuple[Draw, ...]:
    """The draws of a skill ("arithmetic") or of one task of it ("arithmetic/add3"). Raises `ValueError` for others."""
    name, _, task = which.partition("/")
    found = named(name).TASKS
    if not task:
        return tuple(found.values())
    if task not in found:
        raise ValueError(f"{name} has no task {task!r}, only {', '.join(found)}")
    return (found[task],)


def judge(item: Item, answer: str) -> Verdict:
    """What the judge of the item's skill says about an answer."""
    return named(item.skill).judge(item, answer)
