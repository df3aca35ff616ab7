"""Which side of the split a question lies on, streams of one side's items, and the audit that nothing lies on both."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, TypeAlias

from gemwright.tasks.item import KNOWN, Draw, Item
from gemwright.tasks.skills import SKILLS, tasks

Side: TypeAlias = Literal["train", "test"]
SHARE = 0.05  # of the keys, for the test side
_PATIENCE = 200_000  # draws without an item of the side before a task is held to have none
_REPEATS = 200  # items in a row that were seen before, after which a stream of different ones is held to be exhausted


def side_of(key: str, share: float = SHARE) -> Side:
    """The side of a key, by its sha256 alone: whatever else is drawn, it never moves."""
    if key == KNOWN:
        return "train"
    digest = hashlib.sha256(key.encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") < share * 2**64 else "train"


def lies_on(item: Item, side: Side, share: float = SHARE) -> bool:
    """Do the item's key and all its parts lie on that side? An item whose parts disagree lies on neither."""
    if side_of(item.key, share) != side:
        return False
    return all(part == KNOWN or side_of(part, share) == side for part in item.parts)


def draw(task: Draw, side: Side, random: random.Random, share: float = SHARE) -> Item:
    """One item of a side. Raises `ValueError` where the task has none in 200,000 draws."""
    for _ in range(_PATIENCE):
        item = task(random)
        if lies_on(item, side, share):
            return item
    raise ValueError(f"no item of the {side} side with a share of {share} in {_PATIENCE} draws: {item.task}")


def items(which: str, side: Side, *, seed: int = 0, count: int | None = None, share: float = SHARE) -> Iterator[Item]:
    """The first `count` items (all, without end, by default) of a stream that skill, side, seed and share determine.

    `which` is a skill ("arithmetic"), a task of one ("arithmetic/add3") or "all", the skills in turn, for models that
    read and do not see: without the questions about pictures. A longer stream
    begins with the shorter one. The tasks of a skill are equally likely. On the test side no prompt comes twice.

    Raises:
        ValueError: there is no such skill or task, or no new prompt of the side can be found.
    """
    stream = _in_turn(side, seed, share) if which == "all" else _stream(tasks(which), which, side, seed, share)
    return islice(stream, count)


def mixed(mix: Mapping[str, float], side: Side, *, seed: int = 0, count: int, share: float = SHARE) -> Iterator[Item]:
    """`count` items, each of a skill or task drawn by the weights of `mix`. What comes of one skill is its own stream
    (`items`), whatever the others are. Raises `ValueError` as `items` does, and for weights that are no weights."""
    if not mix or min(mix.values()) < 0 or sum(mix.values()) <= 0:
        raise ValueError(f"a mixture needs weights from 0 up, not all of them 0: {dict(mix)}")
    streams = {which: items(which, side, seed=seed, share=share) for which in mix}
    choose = random.Random(f"mixture {side} {seed}")
    for which in choose.choices(list(mix), list(mix.values()), k=count):
        yield next(streams[which])


def _in_turn(side: Side, seed: int, share: float) -> Iterator[Item]:
    streams = [items(skill.SKILL, side, seed=seed, share=share) for skill in SKILLS]
    while True:
        for stream in streams:
            yield next(stream)


def _stream(choices: Sequence[Draw], which: str, side: Side, seed: int, share: float) -> Iterator[Item]:
    seen: set[bytes] = set()
    number = 0
    while True:
        for _ in range(_REPEATS):
            # A generator per item: what one item draws moves no other.
            generator = random.Random(f"{which} {side} {seed} {number}")
            number += 1
            item = draw(generator.choice(choices), side, generator, share)
            prompt = _digest(item.prompt())
            if side == "train" or prompt not in seen:
                break
        else:
            raise ValueError(f"{which} has no more than about {len(seen)} different prompts on the {side} side")
        if side == "test":
            seen.add(prompt)
        yield item


class Audit:
    """Counts the items of both sides and looks for what lies on both. Holds 32 bytes a key and a prompt."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {"train": {}, "test": {}}
        self._keys: dict[str, set[bytes]] = {"train": set(), "test": set()}
        self._prompts: dict[str, set[bytes]] = {"train": set(), "test": set()}

    def add(self, side: Side, item: Item) -> None:
        """One item of a side more."""
        name = f"{item.skill}/{item.task}"
        self._counts[side][name] = self._counts[side].get(name, 0) + 1
        self._prompts[side].add(_digest(item.prompt()))
        self._keys[side].update(_digest(key) for key in (item.key, *item.parts) if key != KNOWN)

    @property
    def overlaps(self) -> dict[str, int]:
        """How many keys, and how many normalised prompts, lie on both sides. A clean split has none of either."""
        return {
            "keys": len(self._keys["train"] & self._keys["test"]),
            "prompts": len(self._prompts["train"] & self._prompts["test"]),
        }

    def report(self) -> dict[str, Any]:
        """The overlaps; and per side the items by skill and task, how many keys and prompts are different, and a
        sha256 over the sorted sha256 of the keys, by which two splits can be compared."""
        report: dict[str, Any] = {"overlaps": self.overlaps}
        for side, counts in self._counts.items():
            keys, prompts = self._keys[side], self._prompts[side]
            report[side] = {
                "items": sum(counts.values()),
                "tasks": dict(sorted(counts.items())),
                "keys": len(keys),
                "prompts": len(prompts),
                "sha256": hashlib.sha256(b"".join(sorted(keys))).hexdigest(),
            }
        return report


def audit(train: Iterable[Item], test: Iterable[Item]) -> dict[str, Any]:
    """The report on two sides; `overlaps` must be 0 twice."""
    both = Audit()
    for item in train:
        both.add("train", item)
    for item in test:
        both.add("test", item)
    return both.report()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
