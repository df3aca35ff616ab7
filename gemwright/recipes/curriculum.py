"""What the pocket family reads: drawn conversations with verifiable answers, and the vocabulary that is made for them.

A curriculum is a folder: `train.jsonl` (chat records, every one of the training side of the split), what is read before
it (`first.jsonl`, `short.jsonl`, see `LESSONS`), `tokenizer/`, and `curriculum.json`, written last, which says what was
drawn. Everything in it follows from its seed. Who trains a member of the family beside another gives both the same
folder, and so the same words and the same questions.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gemwright.data import python_text
from gemwright.data.jsonl import line, whole
from gemwright.errors import UserError
from gemwright.recipes import lessons
from gemwright.recipes.common import train_vocabulary
from gemwright.recipes.lessons import Conversation
from gemwright.tasks import retrieval
from gemwright.tasks.item import Draw, Item, chat_data
from gemwright.tasks.split import Audit, draw, items
from gemwright.text.tokenizer import Tokenizer

SEED = 1
VOCAB = 6144
ROW = 1280  # pieces: the longest conversation, a long text with questions about it

# How often each skill is drawn, beside what a lesson adds.
SKILLS = {
    "arithmetic": 22,
    "word_problems": 10,
    "instructions": 21,
    "languages": 24,
    "manipulation": 12,
    "dialogue": 6,
    "refusals": 3,
}
# What takes longest, beside its skill's share: what words are made of, and what stands in a text or at its end.
HARDER = {
    "instructions/upper": 3,
    "instructions/lower": 2,
    "instructions/sort": 4,
    "instructions/two": 4,
    "instructions/holds": 3,
    "instructions/last": 3,
    "manipulation/spell": 2,
    "manipulation/backwards": 3,
    "manipulation/initials": 3,
    "manipulation/exchange": 2,
    "arithmetic/sort": 2,
    "arithmetic/multiply": 2,
}
_SPOKEN = 40_000  # items that the vocabulary is made from
_FEWEST = 10  # words of a text
_MOST = 5  # questions of a talk
_FACTS = "curriculum.json"
_WORD = re.compile("\u2581[A-Za-z]{2,}")


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What is read for a time: `items` records, each of a kind drawn by the weights of `mix`; of these, `copy` says up
    to that many words again and `pairs` looks one of up to that many up. `python`: the share of Python's own text
    among the tokens. `steps` of so many `tokens`; the last lesson's length is its run's."""

    name: str
    mix: Mapping[str, int]
    copy: int
    pairs: int
    items: int
    python: float
    steps: int | None
    tokens: int


@dataclass(frozen=True)
class Talk:
    """Questions of several skills, one after the other in one conversation."""

    items: tuple[Item, ...]

    def conversation(self) -> Conversation:
        """All messages."""
        return tuple(message for item in self.items for message in item.conversation())


Record = Item | Talk | Conversation

LESSONS = (
    Lesson(
        name="first",
        mix={"copy": 50, "pairs": 38, "ends": 12},
        copy=8,
        pairs=4,
        items=50_000,
        python=0.0,
        steps=400,
        tokens=2560,
    ),
    Lesson(
        name="short",
        mix={**SKILLS, "copy": 6, "pairs": 8, "text": 12},
        copy=30,
        pairs=14,
        items=150_000,
        python=0.04,
        steps=1800,
        tokens=2560,
    ),
    Lesson(
        name="train",
        mix={**SKILLS, **HARDER, "talk": 20, "copy": 4, "pairs": 6, "text": 6, "retrieval": 2, "long": 4},
        copy=60,
        pairs=30,
        items=300_000,
        python=0.04,
        steps=None,
        tokens=2 * ROW,
    ),
)


def short_text(generator: random.Random) -> Item:
    """A text of few records more often than of many, and some questions about it, which are all learnt from."""
    words = round(_FEWEST * (retrieval.MIDDLE / _FEWEST) ** generator.random())
    return retrieval.question("many", generator, words=words, before=generator.randint(0, 4), codes=_codes(generator))


def long_text(generator: random.Random) -> Item:
    """A text and up to sixteen questions about it: it has to be read before one of them can be answered."""
    length = generator.randint(retrieval.SHORTEST, retrieval.LONGEST)
    asked = generator.randint(4, 6 if length > 700 else 16)
    return retrieval.question("many", generator, words=length, before=asked, codes=_codes(generator))


def _codes(generator: random.Random) -> bool:
    return generator.random() < 0.7


def records(lesson: Lesson, pool: Sequence[str], *, seed: int, count: int) -> Iterator[Record]:
    """`count` of what a lesson reads; `pool`: the words that are said again and looked up."""
    drawn: dict[str, Callable[[random.Random], Conversation]] = {
        "copy": partial(lessons.copy, pool=pool, most=lesson.copy),
        "pairs": partial(lessons.pairs, pool=pool, most=lesson.pairs),
        "ends": partial(lessons.ends, pool=pool),
    }
    texts = {"text": short_text, "long": long_text}
    streams: dict[str, Iterator[Record]] = {}
    for kind in lesson.mix:
        name = f"curriculum {lesson.name} {kind} {seed}"
        if kind in drawn:
            streams[kind] = _drawn(drawn[kind], name)
        elif kind == "talk":
            streams[kind] = _talks(name)
        else:
            streams[kind] = _items(texts[kind], name) if kind in texts else items(kind, "train", seed=_seed(name))
    choose = random.Random(f"curriculum {lesson.name} {seed}")
    for kind in choose.choices(list(lesson.mix), list(lesson.mix.values()), k=count):
        yield next(streams[kind])


def _seed(name: str) -> int:
    return random.Random(name).getrandbits(31)


def _drawn(make: Callable[[random.Random], Conversation], name: str) -> Iterator[Conversation]:
    number = 0
    while True:
        yield make(random.Random(f"{name} {number}"))
        number += 1


def _talks(name: str) -> Iterator[Talk]:
    streams = {kind: items(kind, "train", seed=_seed(f"{name} {kind}")) for kind in SKILLS}
    choose = random.Random(name)
    while True:
        kinds = choose.choices(list(SKILLS), list(SKILLS.values()), k=choose.randint(2, _MOST))
        yield Talk(tuple(next(streams[kind]) for kind in kinds))


def _items(task: Draw, name: str) -> Iterator[Item]:
    number = 0
    while True:
        yield draw(task, "train", random.Random(f"{name} {number}"))
        number += 1


def path(folder: Path, lesson: Lesson) -> Path:
    """Where the records of a lesson stand in a curriculum."""
    return folder / f"{lesson.name}.jsonl"


def wanted(seed: int = SEED, scale: float = 1.0, vocab: int = VOCAB) -> dict[str, Any]:
    """What a curriculum is drawn by. `scale`: the share of each lesson's records that is drawn."""
    return {"seed": seed, "scale": scale, "vocab": vocab, "lessons": [asdict(lesson) for lesson in LESSONS]}


def prepare(folder: Path, *, seed: int = SEED, scale: float = 1.0, vocab: int = VOCAB) -> Path:
    """The curriculum in `folder`, which is made if it is not there. Raises `UserError` where another lies there, or
    the folder cannot be written."""
    facts, asked = folder / _FACTS, wanted(seed, scale, vocab)
    if facts.exists():
        if request(folder) != asked:
            raise UserError(f"{folder} holds another curriculum", hint="choose another folder, or delete that one")
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        spoken = _spoken(seed, round(_SPOKEN * min(1.0, scale)))
        train_vocabulary(spoken, vocab, folder / "tokenizer", overwrite=True)
        audit = _write(folder, seed, scale)
        facts.write_text(json.dumps({"request": asked, "audit": audit}, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}", hint="choose another folder") from error
    return folder


def request(folder: Path) -> dict[str, Any]:
    """What the curriculum in `folder` was drawn by. Raises `UserError` where there is none."""
    facts = folder / _FACTS
    try:
        return json.loads(facts.read_text(encoding="utf-8"))["request"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"cannot read {facts}: {error}", hint="delete the folder; it is drawn anew") from error


def _write(folder: Path, seed: int, scale: float) -> dict[str, Any]:
    """Draws the conversations, and looks for what a test would ask among them."""
    audit, pool = Audit(), words_of(folder)
    for lesson in LESSONS:
        with whole([path(folder, lesson)]) as (file,):
            for record in records(lesson, pool, seed=seed, count=round(lesson.items * scale)):
                for item in (record,) if isinstance(record, Item) else getattr(record, "items", ()):
                    audit.add("train", item)
                file.write(line(record.to_json() if isinstance(record, Item) else _to_json(record)))
    for item in items("all", "test", count=4000):
        audit.add("test", item)
    assert not any(audit.overlaps.values()), "an item of the test side was drawn"
    return dict(audit.report())


def _to_json(record: Talk | Conversation) -> dict[str, Any]:
    return {"messages": chat_data(record.conversation() if isinstance(record, Talk) else record)}


def words_of(folder: Path) -> list[str]:
    """The words of a curriculum's vocabulary that are one piece each."""
    tokenizer = Tokenizer.load(folder / "tokenizer")
    pieces = (tokenizer.piece(token) for token in range(tokenizer.vocab_size))
    return [piece[1:] for piece in pieces if _WORD.fullmatch(piece)]


def _spoken(seed: int, count: int) -> Iterator[str]:
    """What the vocabulary is made from: conversations of the last lesson's skills, and Python's texts."""
    streams = {kind: items(kind, "train", seed=seed) for kind in (*SKILLS, "retrieval")}
    choose = random.Random(f"curriculum vocabulary {seed}")
    for kind in choose.choices(list(streams), [*SKILLS.values(), 2], k=count):
        yield from (f"{message.text}\n" for message in next(streams[kind]).conversation())
    yield from (document.text for document in python_text.documents())
