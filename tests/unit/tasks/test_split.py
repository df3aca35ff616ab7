"""No key and no prompt lies on both sides, and a stream depends on nothing but its arguments."""

from __future__ import annotations

import dataclasses
import hashlib
import random

import pytest

from gemwright.tasks import arithmetic, split
from gemwright.tasks.item import KNOWN, Item, user
from gemwright.tasks.skills import EVERY, sees
from gemwright.tasks.split import audit, draw, items, lies_on, mixed, side_of


def _item(key: str, *parts: str, prompt: str = "?") -> Item:
    return Item(skill="s", task="t", messages=user(prompt), ideal="!", key=key, parts=parts, check={})


def test_the_test_side_gets_its_share_of_the_keys() -> None:
    sides = [side_of(f"key {number}", 0.2) for number in range(5000)]
    assert 900 < sides.count("test") < 1100


def test_a_larger_share_keeps_every_key_that_a_smaller_one_tests() -> None:
    keys = [f"key {number}" for number in range(3000)]
    small = {key for key in keys if side_of(key, 0.05) == "test"}
    assert small and small < {key for key in keys if side_of(key, 0.1) == "test"}


def test_the_side_is_that_of_the_keys_sha256() -> None:
    for key in ("a", "words otter", "ключ"):
        share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
        assert side_of(key, share * 1.001) == "test" and side_of(key, share * 0.999) == "train"


def test_what_every_training_knows_is_never_tested() -> None:
    assert side_of(KNOWN, 1.0) == "train"
    assert arithmetic.pair_key(7, 12) == KNOWN != arithmetic.pair_key(7, 21)


def test_an_item_lies_where_its_key_and_all_its_parts_lie() -> None:
    keys = [f"key {number}" for number in range(400)]
    tested = next(key for key in keys if side_of(key) == "test")
    trained = next(key for key in keys if side_of(key) == "train")
    assert lies_on(_item(tested, KNOWN), "test") and lies_on(_item(trained, KNOWN), "train")
    for mixture in (_item(tested, trained), _item(trained, tested)):
        assert not lies_on(mixture, "train") and not lies_on(mixture, "test")


def test_the_order_of_two_numbers_and_what_is_asked_do_not_change_the_key() -> None:
    assert arithmetic.pair_key(123, 45) == arithmetic.pair_key(45, 123)
    keys = {item.key for item in items("arithmetic/add2", "test", count=150)}
    trained = {item.key for item in items("arithmetic/subtract2", "train", count=2000)}
    assert keys and not keys & trained


@pytest.mark.parametrize("skill", [skill.SKILL for skill in EVERY])
def test_training_holds_no_key_and_no_prompt_of_a_test(skill: str) -> None:
    report = audit(items(skill, "train", seed=1, count=1500), items(skill, "test", seed=1, count=40))
    assert report["overlaps"] == {"keys": 0, "prompts": 0}


def test_the_audit_sees_a_key_and_a_prompt_that_lie_on_both_sides() -> None:
    report = audit([_item("a", "b"), _item("c", prompt="One!")], [_item("d", "b"), _item("e", prompt="one")])
    # The default prompt is shared as well.
    assert report["overlaps"] == {"keys": 1, "prompts": 2}


def test_the_audits_digest_depends_on_the_keys_and_not_on_their_order() -> None:
    keys = [_item(key) for key in "abc"]
    one, other, less = audit(keys, []), audit(keys[::-1] + keys, []), audit(keys[:2], [])
    digests = [report["train"]["sha256"] for report in (one, other, less)]
    assert digests[0] == digests[1] != digests[2]


def test_a_longer_stream_begins_with_the_shorter_one() -> None:
    assert list(items("all", "train", seed=2, count=40))[:15] == list(items("all", "train", seed=2, count=15))


def test_another_seed_gives_other_items() -> None:
    one, other = (list(items("instructions", "train", seed=seed, count=20)) for seed in (0, 1))
    assert one != other


def test_a_skills_items_do_not_depend_on_what_they_are_mixed_with() -> None:
    alone = list(items("dialogue", "train", seed=4, count=10))
    mixture = mixed({"dialogue": 1, "arithmetic/add2": 2}, "train", seed=4, count=60)
    assert [item for item in mixture if item.skill == "dialogue"][:10] == alone


def test_a_mixture_has_the_shares_that_were_asked_for() -> None:
    drawn = list(mixed({"manipulation": 3, "refusals": 1, "dialogue": 0}, "train", count=2000))
    assert [item.skill for item in drawn].count("manipulation") == pytest.approx(1500, abs=80)
    assert {item.skill for item in drawn} == {"manipulation", "refusals"}


@pytest.mark.parametrize("mix", [{}, {"dialogue": 0}, {"dialogue": -1, "refusals": 2}])
def test_weights_that_are_none_are_refused(mix: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        next(mixed(mix, "train", count=1))


def test_no_prompt_comes_twice_in_a_test_stream_and_an_exhausted_one_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "_REPEATS", 5)
    prompts: list[str] = []
    with pytest.raises(ValueError, match="no more than about"):
        for item in items("languages/answer_bigger", "test"):
            prompts.append(item.prompt())
    assert len(set(prompts)) == len(prompts) > 10


def test_a_side_that_a_task_cannot_reach_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "_PATIENCE", 1000)

    def stubborn(random: random.Random) -> Item:
        return dataclasses.replace(_item(KNOWN), task=str(random.random()))

    with pytest.raises(ValueError, match="no item of the test side"):
        draw(stubborn, "test", random.Random(0))


def test_questions_for_all_models_are_about_no_pictures() -> None:
    assert not any(sees(item.skill) for item in items("all", "train", count=30))


def test_the_audit_sees_a_picture_that_lies_on_both_sides_with_the_same_question() -> None:
    item, other = items("pictures/count", "train", count=2)
    assert audit([item], [item])["overlaps"] == {"keys": 1, "prompts": 1}
    asked = dataclasses.replace(other, messages=item.messages)
    assert audit([item], [asked])["overlaps"] == {"keys": 0, "prompts": 0}
