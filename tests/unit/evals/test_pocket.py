"""The skills' table: who answered what, and what those score who understand nothing."""

from __future__ import annotations

import pytest

from gemwright.engine.request import Completion, Usage
from gemwright.errors import UserError
from gemwright.evals import pocket as module
from gemwright.evals.answers import Asked
from gemwright.evals.interval import wilson
from gemwright.evals.pocket import majority, ngram, pocket, skills
from gemwright.lm import LM
from gemwright.tasks import arithmetic
from gemwright.tasks.item import Item, user
from gemwright.tasks.pictures.draw import picture
from gemwright.tasks.skills import judge
from gemwright.tasks.split import items, side_of

SKILL = "arithmetic"


def completion(text: str) -> Completion:
    usage = Usage(prompt=1, cached=0, completion=3, prefill_seconds=0, decode_seconds=0)
    return Completion(text=text, ids=(1, 2, 3), logprobs=None, finish_reason="stop", usage=usage, seed=0)


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> list[Item]:
    """Instead of a model somebody answers who knows all, but errs on every fourth item; the items asked."""
    asked: list[Item] = []
    known = {item.messages: item for item in items(SKILL, "test", seed=3, count=40)}

    def ask(lm: LM, conversations: list, **_: object) -> list[Asked]:
        found = [known[messages] for messages in conversations]
        asked.extend(found)
        texts = ["no idea" if number % 4 == 0 else item.ideal for number, item in enumerate(found)]
        return [Asked(prompt=(2, 5), answer=completion(text)) for text in texts]

    monkeypatch.setattr(module, "ask", ask)
    return asked


def test_a_skill_scores_what_its_judge_says(lm: LM, oracle: list[Item]) -> None:
    (row,) = pocket(lm, which=[SKILL], seed=3, count=40).rows
    assert (row.skill, row.items, row.score, row.tokens) == (SKILL, 40, 0.75, 3)
    assert row.interval == wilson(0.75, 40)
    per_task = {task: [item for item in oracle if item.task == task] for task in {item.task for item in oracle}}
    assert row.tasks.keys() == per_task.keys()
    assert sum(row.tasks[task] * len(found) for task, found in per_task.items()) == pytest.approx(30)


def test_the_questions_lie_on_the_test_side(lm: LM, oracle: list[Item]) -> None:
    pocket(lm, which=[SKILL], seed=3, count=40)
    assert len(oracle) == 40 and all(side_of(item.key) == "test" for item in oracle)


def test_the_first_wrong_answers_are_kept(lm: LM, oracle: list[Item]) -> None:
    found = pocket(lm, which=[SKILL], seed=3, count=40, failures=2).failures
    assert [one.question for one in found] == [oracle[at].messages[-1].text for at in (0, 4)]
    assert all(one.answer == "no idea" and one.score == 0 and one.reason for one in found)


def test_the_same_seed_gives_the_same_tree(lm: LM) -> None:
    first, again, other = (
        pocket(lm, which=[SKILL], seed=seed, count=4, max_tokens=8, failures=4).to_json() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_the_majority_baseline_says_the_commonest_answer_of_the_task() -> None:
    def item(task: str, ideal: str) -> Item:
        return Item(skill=SKILL, task=task, messages=user("?"), ideal=ideal, key="k", check={})

    learnt = [item("a", "1"), item("a", "2"), item("a", "2"), item("b", "3")]
    assert majority([item("b", ""), item("a", ""), item("c", "")], learnt) == ["3", "2", ""]


def test_the_ngram_baseline_repeats_what_it_has_read(lm: LM) -> None:
    read = list(items(SKILL, "train", seed=1, count=20))
    answers = ngram(lm, read, read, most=80)
    right = sum(judge(item, answer).score for item, answer in zip(read, answers, strict=True))
    assert right > 0 and all("<" not in answer or "<" in "".join(item.ideal for item in read) for answer in answers)


def test_what_does_not_fit_the_context_counts_as_wrong(lm: LM) -> None:
    (row,) = pocket(lm, which=["retrieval"], count=6, max_tokens=4, seed=2).rows
    assert 0 < row.unanswered <= 6 and row.score <= 1 - row.unanswered / 6


def test_progress_goes_through_all_skills(lm: LM) -> None:
    told: list[int] = []
    pocket(lm, which=[SKILL, "manipulation"], count=3, max_tokens=2, on_done=told.append)
    assert told == sorted(told) and told[-1] == 6


def test_a_model_that_sees_is_asked_about_pictures_too(seeing: LM, lm: LM) -> None:
    assert skills(seeing) == (*skills(lm), "pictures") == skills()


def test_each_question_about_a_picture_shows_its_picture(seeing: LM) -> None:
    assert seeing.eyes is not None
    before = len(seeing.eyes.cache)
    (row,) = pocket(seeing, which=["pictures"], seed=8, count=5, max_tokens=2).rows
    assert (row.skill, row.items, row.unanswered) == ("pictures", 5, 0)
    assert len(seeing.eyes.cache) - before == 5
    (item,) = items("pictures", "test", seed=8, count=1)
    (view,) = seeing.eyes.show(picture(item)).views
    assert seeing.eyes.cache.get(seeing.eyes.tower.digest(), view.sha256) is not None


def test_pictures_in_parts_give_the_same_answers(seeing: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    whole = pocket(seeing, which=["pictures"], seed=8, count=5, max_tokens=3, failures=5)
    monkeypatch.setattr(module, "TOGETHER", 2)
    parts = pocket(seeing, which=["pictures"], seed=8, count=5, max_tokens=3, failures=5, on_done=told.append)
    assert parts.to_json() == whole.to_json() and told == sorted(told) and told[-1] == 5


def test_a_model_that_does_not_see_is_not_asked_and_the_table_says_so(lm: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SKILLS", [arithmetic])
    found = pocket(lm, count=2, max_tokens=2)
    assert [row.skill for row in found.rows] == ["arithmetic"]
    assert found.to_json()["notes"] == [f"pictures was left out: {lm.spec.name} does not see"]
    with pytest.raises(UserError, match="sees no pictures"):
        pocket(lm, which=["pictures"], count=2)


def test_a_model_without_turn_marks_is_refused(lm: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm.tokenizer, "start_of_turn", None)
    with pytest.raises(UserError, match="no turn marks"):
        pocket(lm, which=[SKILL], count=2)
