"""What the pocket family reads: drawn conversations with verifiable answers, and the vocabulary that is made for them.

A curriculum is a folder: `train.jsonl` (chat records, every one of the training side of the split), `tokenizer/`,
`copies-0.jsonl` and so on (what is read before the rest, see `COPYING`), and `curriculum.json`, written last, which
says what was drawn. Everything in it follows from its seed. Who trains a member of the family beside another gives
both the same folder, and so the same words and the same questions.
"""

from __future__ import annotations

import collections
import functools
import itertools
import json
import random
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gemwright.data import python_text
from gemwright.data.jsonl import line, whole
from gemwright.errors import UserError
from gemwright.recipes.common import WINDOW
from gemwright.tasks import retrieval, words
from gemwright.tasks.item import Draw, Item
from gemwright.tasks.split import Audit, draw, items
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.train import train_tokenizer

SEED = 1
ITEMS = 400_000
VOCAB = 6144
ROW = 1280  # pieces: the longest conversation, a long text with questions about it

# How often each skill is drawn, of 100 items; about half of all pieces are texts to be searched.
MIX = {
    "arithmetic": 20,
    "word_problems": 11,
    "instructions": 17,
    "languages": 20,
    "retrieval": 2,
    "manipulation": 11,
    "dialogue": 10,
    "refusals": 5,
}
_SEARCHES = 3  # of 100: one text and many questions, for a text has to be read before one of them can be answered
_DRILLS = 6  # of 100: plain texts that repeat themselves
_COMMON = 3000  # words that drills draw from
_PIECE = re.compile("\u2581[A-Za-z]{2,}")
_WORD = re.compile(r"\b[A-Za-z]{2,12}\b")
COPYING_TOKENS = 2 * ROW  # of a step while copying is learnt
_SPOKEN = 40_000  # items that the vocabulary is made from


def many_questions(generator: random.Random) -> Item:
    """A text and up to sixteen questions about it, which are all learnt from; no test asks so many."""
    length = generator.randint(retrieval.SHORTEST, retrieval.LONGEST)
    asked = generator.randint(4, 6 if length > 700 else 16)
    return retrieval.question("many", generator, words=length, before=asked, codes=generator.random() < 0.7)


def drill(generator: random.Random) -> str:
    """Words and numbers in no order, and the same again: as they stood, some times over or far apart, or as pairs in
    another order. What follows a word is known only from where it stood before: nothing teaches a small model sooner
    to look there (Olsson et al., "In-context learning and induction heads", 2022), and the more words there are, the
    more there is to gain. Far apart, only global layers see it."""
    pool = generator.choice((_common_words(), _common_words(), words.NOUNS, words.ADJECTIVES, words.NAMES))
    which = generator.random()
    if which < 0.2:
        keys = generator.sample(pool, generator.randint(3, 40))
        pairs = [f"{key}: {_drawn(generator, pool)}" for key in keys]
        return "\n".join([*pairs, "", *generator.sample(pairs, len(pairs))])
    length, times = (
        (generator.randint(60, 160), 2) if which < 0.3 else (generator.randint(3, 30), generator.randint(2, 4))
    )
    mark = generator.choice((" ", ", ", "\n"))
    return "\n".join([mark.join(_drawn(generator, pool) for _ in range(length))] * times)


def _drawn(generator: random.Random, pool: Sequence[str]) -> str:
    return generator.choice(pool) if generator.random() < 0.9 else str(generator.randrange(10_000))


@dataclass(frozen=True, kw_only=True)
class Copying:
    """A time in which a model learns nothing but to copy: texts of `shortest` to `longest` words, said two to four
    times, read while local layers see `window` tokens."""

    window: int
    shortest: int
    longest: int
    steps: int
    rate: float


# Among other texts it takes many times as long to learn that what came once may come again, and until then every skill
# that copies waits. Local layers learn it first, for they are many, and then nothing is left for a global layer to gain
# until texts are long, where a first head has hundreds of tokens to choose from and finds nothing. So the first texts
# are short and local layers see less than them; texts and windows grow together. See docs/log.md.
COPYING = (
    Copying(window=4, shortest=5, longest=12, steps=400, rate=5e-3),
    Copying(window=16, shortest=5, longest=40, steps=160, rate=3e-3),
    Copying(window=WINDOW, shortest=5, longest=600, steps=240, rate=3e-3),
)


def copies(generator: random.Random, pool: Sequence[str], stage: Copying) -> str:
    """Words in no order and the same again; lengths are spread evenly over their logarithms."""
    length = round(stage.shortest * (stage.longest / stage.shortest) ** generator.random())
    times = 2 if length > 60 else generator.randint(2, 4)
    return "".join([f" {generator.choice(pool)}" for _ in range(length)] * times)


@functools.cache
def _common_words() -> tuple[str, ...]:
    """The words that Python's own texts use most."""
    seen = collections.Counter(word for document in python_text.documents() for word in _WORD.findall(document.text))
    return tuple(word for word, _ in sorted(seen.items(), key=lambda each: (-each[1], each[0]))[:_COMMON])


def records(seed: int, count: int) -> Iterator[Item | str]:
    """`count` of what the family reads: items, and texts to repeat among them."""
    streams: dict[str, Iterator[Item | str]] = {which: items(which, "train", seed=seed) for which in MIX}
    streams["many"] = _stream(many_questions, seed)
    streams["drill"] = (drill(random.Random(f"curriculum drill {seed} {number}")) for number in itertools.count())
    choose = random.Random(f"curriculum {seed}")
    for which in choose.choices(list(streams), [*MIX.values(), _SEARCHES, _DRILLS], k=count):
        yield next(streams[which])


def _stream(task: Draw, seed: int) -> Iterator[Item]:
    number = 0
    while True:
        yield draw(task, "train", random.Random(f"curriculum many {seed} {number}"))
        number += 1


def prepare(folder: Path, *, seed: int = SEED, count: int = ITEMS, vocab: int = VOCAB) -> Path:
    """The curriculum in `folder`, which is made if it is not there. Raises `UserError` where another lies there, or
    the folder cannot be written."""
    request: dict[str, Any] = {
        "seed": seed,
        "items": count,
        "vocab": vocab,
        "mix": MIX,
        "searches": _SEARCHES,
        "drills": _DRILLS,
        "copying": [asdict(stage) for stage in COPYING],
    }
    facts = folder / "curriculum.json"
    if facts.exists():
        _agree(facts, request)
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        audit = _write(folder, seed, count)
        _vocabulary(folder, vocab)
        _write_copies(folder, seed)
        facts.write_text(json.dumps({"request": request, "audit": audit}, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}", hint="choose another folder") from error
    return folder


def _agree(facts: Path, request: dict[str, Any]) -> None:
    try:
        found = json.loads(facts.read_text(encoding="utf-8"))["request"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"cannot read {facts}: {error}", hint="delete the folder; it is drawn anew") from error
    if found != request:
        raise UserError(f"{facts.parent} holds another curriculum", hint="choose another folder, or delete that one")


def _write(folder: Path, seed: int, count: int) -> dict[str, Any]:
    """Draws the conversations, and looks for what a test would ask among them."""
    audit = Audit()
    with whole([folder / "train.jsonl"]) as (file,):
        for record in records(seed, count):
            if isinstance(record, Item):
                audit.add("train", record)
            file.write(line(record.to_json() if isinstance(record, Item) else {"text": record}))
    for item in items("all", "test", count=4000):
        audit.add("test", item)
    assert not any(audit.overlaps.values()), "an item of the test side was drawn"
    return dict(audit.report())


def _vocabulary(folder: Path, vocab: int) -> None:
    """Makes the tokenizer from the first conversations and from Python's texts."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "text.txt"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for record in itertools.islice(_conversations(folder / "train.jsonl"), _SPOKEN):
                file.writelines(f"{message['content']}\n" for message in record["messages"])
            for document in python_text.documents():
                file.write(document.text)
        train_tokenizer([path], vocab, folder / "tokenizer", family="gemma3", overwrite=True)


def _write_copies(folder: Path, seed: int) -> None:
    """`copies-0.jsonl` and so on, one for each stage, of words that are one piece each; as much as the stage reads."""
    tokenizer = Tokenizer.load(folder / "tokenizer")
    pieces = (tokenizer.piece(token) for token in range(tokenizer.vocab_size))
    pool = [piece[1:] for piece in pieces if _PIECE.fullmatch(piece)]
    for number, stage in enumerate(COPYING):
        generator = random.Random(f"curriculum copies {seed} {number}")
        missing = stage.steps * COPYING_TOKENS
        with whole([copies_path(folder, number)]) as (file,):
            while missing > 0:
                text = copies(generator, pool, stage)
                missing -= text.count(" ")
                file.write(line({"text": text}))


def copies_path(folder: Path, number: int) -> Path:
    """Where the texts of a stage of `COPYING` stand."""
    return folder / f"copies-{number}.jsonl"


def _conversations(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from (found for found in map(json.loads, lines) if "messages" in found)
