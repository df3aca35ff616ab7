"""The lessons before the album: what is drawn and asked."""

from __future__ import annotations

import itertools
import json

import pytest

from gemwright.recipes.looking import LESSONS, Lesson, records
from gemwright.tasks.judging import final
from gemwright.tasks.pictures import describe
from gemwright.tasks.pictures.scene import Scene
from gemwright.tasks.split import side_of

LOOK_UPS, FIGURES = LESSONS


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_a_record_asks_about_a_picture_of_the_training_side_and_half_are_described(lesson: Lesson) -> None:
    told = []
    for record in itertools.islice(records(lesson, seed=3, side=32), 20):
        scene = Scene.from_json(record["scene"])
        assert side_of(f"picture {scene.content()}") == "train"
        first, *rest = [message for message in record["messages"] if message["role"] == "user"]
        assert len(first["images"]) == 1 and not any("images" in message for message in rest)
        described = [message["content"] == describe.described(scene) for message in record["messages"]]
        assert not any(described[:-1])  # a text to read the answers from comes behind them
        told.append(described[-1])
    assert True in told and False in told


def test_a_look_up_is_a_question_for_each_of_two_to_five_things_that_differ() -> None:
    counts = set()
    for scene, turns in itertools.islice(LOOK_UPS.draw(3), 30):
        shapes, colours = {thing.shape for thing in scene.things}, {thing.colour for thing in scene.things}
        assert len(shapes) == len(colours) == len(scene.things) == len(turns)
        counts.add(len(scene.things))
    assert counts == {2, 3, 4, 5}


def test_among_figures_things_are_alike_and_are_counted() -> None:
    alike, numbers = 0, set()
    for scene, turns in itertools.islice(FIGURES.draw(3), 60):
        assert 2 <= len(scene.things) <= 6 and len({question for question, _ in turns}) == len(turns) >= 2
        alike += len({thing.shape for thing in scene.things}) < len(scene.things)
        numbers |= {int(last) for _, answer in turns if (last := final(answer)).isdigit()}
    assert alike > 30 and {1, 2, 3, 4} <= numbers


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_the_same_seed_draws_the_same_and_another_one_another(lesson: Lesson) -> None:
    first, again, other = (
        [json.dumps(record) for record in itertools.islice(records(lesson, seed=seed, side=16), 3)]
        for seed in (3, 3, 4)
    )
    assert first == again != other
