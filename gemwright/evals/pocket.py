"""What a model can do of what the tasks ask, skill by skill, on questions that no training has seen.

Each skill's items come from the test side of the split, are put to the model as a chat would put them, are answered
greedily and judged by the skill's own judge. Two models that understand nothing answer beside it, from items of the
training side: "majority" always gives the most frequent ideal answer of the task, "n-gram" goes on from the rendered
question by counts of the few tokens before.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

from gemwright.engine.request import Sampling
from gemwright.evals.answers import SEQUENCES, Asked, ask, prompt
from gemwright.evals.interval import Interval, wilson
from gemwright.evals.ngram import NGram
from gemwright.lm import LM
from gemwright.tasks.item import Item
from gemwright.tasks.pictures.draw import picture
from gemwright.tasks.skills import EVERY, SEEN, SKILLS, judge
from gemwright.tasks.split import items
from gemwright.text.turns import Message

ITEMS = 500  # of a skill
MAX_TOKENS = 160  # of an answer
TOGETHER = 100  # questions about pictures that are put at once: so many pictures are in memory together
ORDER = 5
LEARNT = 150_000  # tokens of rendered conversations that the n-gram model counts, for each skill
_TRAIN_SEED = 7919  # added to the seed: the baselines learn from another stream


@dataclass(frozen=True, kw_only=True)
class Row:
    """One skill. `score`, `majority` and `ngram` are means from 0 to 1, `interval` is the 95% interval of `score`;
    `tasks` their means by task; `tokens` the mean length of an answer; `unanswered` counts questions that do not fit
    the model's context, which score 0."""

    skill: str
    items: int
    score: float
    interval: Interval
    majority: float
    ngram: float
    tokens: float
    unanswered: int
    tasks: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An answer that lost points, and why."""

    skill: str
    task: str
    score: float
    reason: str
    question: str
    ideal: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All skills. `tokens` were drawn in `seconds`, which also hold the reading of the questions. `notes`: what was not
    asked, and why."""

    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]
    tokens: int
    seconds: float
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values, without times."""
        rows = [asdict(row) | {"interval": list(row.interval)} for row in self.rows]
        failures = [asdict(failure) for failure in self.failures]
        return {"drawn": self.tokens, "skills": rows, "failures": failures, "notes": list(self.notes)}


def sampling(max_tokens: int = MAX_TOKENS) -> Sampling:
    """How answers are drawn: the likeliest token each time, and no more than so many."""
    return Sampling(temperature=0.0, max_tokens=max_tokens)


def skills(lm: LM | None = None) -> tuple[str, ...]:
    """The skills' names, in the order of the table; those that a model can be asked, where one is given."""
    blind = lm is not None and lm.eyes is None
    return tuple(skill.SKILL for skill in (SKILLS if blind else EVERY))


def pocket(
    lm: LM,
    *,
    which: Sequence[str] = (),
    seed: int = 0,
    count: int = ITEMS,
    max_tokens: int = MAX_TOKENS,
    sequences: int = SEQUENCES,
    failures: int = 0,
    on_done: Callable[[int], object] | None = None,
) -> Outcome:
    """The skills `which` (default: all that the model can be asked, see `skills`), `count` items each.

    The first `failures` answers that lost points are kept for each skill. `on_done` is told how many questions have
    been answered. Raises `UserError` for a model that cannot hold a conversation, or that is asked about pictures and
    sees none, `ValueError` for a skill that there is not.
    """
    rows: list[Row] = []
    lost: list[Failure] = []
    drawn, seconds = 0, 0.0
    for number, skill in enumerate(which or skills(lm)):
        questions = list(items(skill, "test", seed=seed, count=count))

        def told(done: int, before: int = number * count) -> None:
            if on_done is not None:
                on_done(before + done)

        began = time.perf_counter()
        asked = _answers(lm, questions, sampling(max_tokens), sequences, told)
        seconds += time.perf_counter() - began
        drawn += sum(one.tokens for one in asked)
        rows.append(_row(lm, skill, questions, asked, seed, max_tokens))
        lost += islice(_lost(questions, asked), failures)
    return Outcome(
        rows=tuple(rows),
        failures=tuple(lost),
        tokens=drawn,
        seconds=seconds,
        notes=() if which else tuple(_left_out(lm)),
    )


def _left_out(lm: LM) -> Iterator[str]:
    asked = skills(lm)
    for skill in SEEN:
        if skill.SKILL not in asked:
            yield f"{skill.SKILL} was left out: {lm.spec.name} does not see"


def _answers(
    lm: LM, questions: Sequence[Item], how: Sampling, sequences: int, told: Callable[[int], object]
) -> list[Asked]:
    """What the model answers; `told` how many questions it has answered."""
    asked: list[Asked] = []
    step = TOGETHER if any(item.scene is not None for item in questions) else max(len(questions), 1)
    for begin in range(0, len(questions), step):

        def on_done(done: int, before: int = begin) -> None:
            told(before + done)

        shown = [_shown(item) for item in questions[begin : begin + step]]
        asked += ask(lm, shown, sampling=how, sequences=sequences, on_done=on_done)
    return asked


def _shown(item: Item) -> tuple[Message, ...]:
    """The question as it is put, with the picture that it asks about, if there is one."""
    if item.scene is None:
        return item.messages
    return (*item.messages[:-1], replace(item.messages[-1], images=(picture(item),)))


def _row(lm: LM, skill: str, questions: Sequence[Item], asked: Sequence[Asked], seed: int, most: int) -> Row:
    scores = [_score(item, one.text) if one.answer else 0.0 for item, one in zip(questions, asked, strict=True)]
    learnt = list(items(skill, "train", seed=seed + _TRAIN_SEED, count=len(questions)))
    by_task: dict[str, list[float]] = defaultdict(list)
    for item, score in zip(questions, scores, strict=True):
        by_task[item.task].append(score)
    mean = sum(scores) / len(scores)
    return Row(
        skill=skill,
        items=len(questions),
        score=mean,
        interval=wilson(mean, len(scores)),
        majority=_mean(questions, majority(questions, learnt)),
        ngram=_mean(questions, ngram(lm, questions, learnt, most)),
        tokens=sum(one.tokens for one in asked) / len(asked),
        unanswered=sum(one.answer is None for one in asked),
        tasks={task: sum(found) / len(found) for task, found in sorted(by_task.items())},
    )


def majority(questions: Sequence[Item], learnt: Sequence[Item]) -> list[str]:
    """For each question the ideal answer that its task has most often in `learnt` (the first one seen of equals);
    nothing for a task that is not there."""
    ideals: dict[str, Counter[str]] = defaultdict(Counter)
    for item in learnt:
        ideals[item.task][item.ideal] += 1
    commonest = {task: counts.most_common(1)[0][0] for task, counts in ideals.items()}
    return [commonest.get(item.task, "") for item in questions]


def ngram(lm: LM, questions: Sequence[Item], learnt: Sequence[Item], most: int) -> list[str]:
    """For each question how counts over the rendered conversations of `learnt` go on from it, up to the mark that ends
    a turn, in `most` tokens at most; they count about 150,000 tokens and no more, and see no pictures."""
    assert lm.tokenizer is not None, "a model that was asked has a tokenizer"
    counts = NGram(lm.tokenizer.vocab_size, ORDER)
    ends = {id for id in (lm.tokenizer.end_of_turn, lm.tokenizer.eos) if id is not None}
    close = min(ends - {lm.tokenizer.eos}, default=lm.tokenizer.eos)
    for item in learnt:
        if counts.tokens >= LEARNT:
            break
        counts.learn([*prompt(lm, item.messages), *lm.tokenizer.encode(item.ideal), close])
    return [lm.tokenizer.decode(counts.go_on(prompt(lm, one.messages), most, ends)) for one in questions]


def _score(item: Item, answer: str) -> float:
    return judge(item, answer).score


def _mean(questions: Sequence[Item], answers: Sequence[str]) -> float:
    scores = [_score(item, answer) for item, answer in zip(questions, answers, strict=True)]
    return sum(scores) / len(scores)


def _lost(questions: Sequence[Item], asked: Sequence[Asked]) -> Iterator[Failure]:
    for item, one in zip(questions, asked, strict=True):
        verdict = judge(item, one.text)
        if one.answer is not None and verdict.score == 1:
            continue
        yield Failure(
            skill=item.skill,
            task=item.task,
            score=verdict.score if one.answer else 0.0,
            reason=verdict.reason if one.answer else f"{len(one.prompt)} tokens do not fit the context",
            question="\n".join(message.text for message in item.messages),
            ideal=item.ideal,
            answer=one.text,
        )
