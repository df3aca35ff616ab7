"""Further questions about one picture: true of it, and as those that tests draw pictures for."""

from __future__ import annotations

import random
import re

import pytest

from gemwright.tasks.judging import final
from gemwright.tasks.pictures.more import look_ups, more, stepped
from gemwright.tasks.pictures.questions import TASKS
from gemwright.tasks.pictures.scene import COLOURS, SHAPES, Bar, Scene, Thing
from gemwright.tasks.pictures.wording import SPOKEN, colour_of


def _things(*told: str) -> Scene:
    """A picture of 100 by 100 pixels; "large red star 20 80" is a thing."""
    things = []
    for one in told:
        size, colour, shape, x, y = one.split()
        things.append(Thing(shape=shape, colour=colour, size=size, x=int(x), y=int(y), radius=8))
    return Scene(width=100, height=100, background="white", things=tuple(things))


def _asked(scene: Scene, count: int = 4000) -> set[tuple[str, str]]:
    return {pair for number in range(count) for pair in more(random.Random(number), scene, 10)}


def _answers(found: set[tuple[str, str]], pattern: str) -> set[str]:
    """What the answers come to."""
    return {final(answer) for text, answer in found if re.search(pattern, text)}


def test_answers_are_those_of_the_picture() -> None:
    found = _asked(_things("large red star 15 15", "small blue circle 85 20", "small blue heart 80 90"))
    assert _answers(found, r"^What colour is the star\?") == {"red"}
    assert _answers(found, r"^What shape is red\?") == {"star"}
    assert not _answers(found, r"^What shape is blue\?"), "two things are blue"
    assert _answers(found, r"^How many stars are here\?") == {"1"} and _answers(found, "How many blue things") == {"2"}
    assert _answers(found, r"^How many shapes are here\?") == {"3"} and _answers(found, "(?i)how many crosses") == {"0"}
    assert _answers(found, r"^Is the (red )?star at the (top|bottom)") == {"top"}
    assert _answers(found, r"^Is the (blue )?heart on the (left|right)") == {"right"}
    assert _answers(found, r"^Is the red star (left or right|right or left) of the blue circle") == {"left"}
    assert _answers(found, r"^Is the blue heart (above or below|below or above) the blue circle") == {"below"}
    assert _answers(found, r"which is (larger|bigger)") == {"the red star"}
    assert _answers(found, r"which is smaller, the red star or the blue heart") == {"the blue heart"}
    assert _answers(found, r"^Is there a blue heart\?") == {"yes"} and _answers(found, r"there a red heart\?") == {"no"}
    assert _answers(found, "background") == {"white"}


def test_charts_are_asked_for_values_and_extremes() -> None:
    bars = (Bar(colour="red", value=3), Bar(colour="blue", value=9), Bar(colour="green", value=5))
    found = _asked(Scene(width=100, height=80, background="grey", bars=bars))
    assert _answers(found, "How high is the blue bar") == {"9"} and _answers(found, "value of the red bar") == {"3"}
    assert _answers(found, "(tallest|highest) bar") == {"blue"} and _answers(found, "(lowest|shortest) bar") == {"red"}


@pytest.mark.parametrize("task", ["colour", "shape", "count", "count_colour", "place", "larger", "exists"])
def test_where_a_test_would_ask_the_same_the_answer_is_the_same(task: str) -> None:
    met = 0
    for number in range(150):
        item = TASKS[task](random.Random(f"{task} {number}"))
        scene = Scene.from_json(item.check["scene"])
        same = {answer for text, answer in _asked(scene, 12) if text == item.messages[-1].text}
        assert same <= {item.ideal}, item
        met += len(same)
    assert met > 3


def test_kinds_differ_and_there_are_no_more_than_wanted() -> None:
    scene = _things("large red star 15 15", "small blue circle 85 20")
    for number in range(50):
        texts = [text for text, _ in more(random.Random(number), scene, 3)]
        assert len(texts) == 3 and sum("background" in text or "On what colour" in text for text in texts) <= 1


def test_a_kind_comes_again_where_many_are_wanted_but_no_question_does() -> None:
    scene = _things("large red star 15 15", "small blue circle 85 20", "small green heart 80 90")
    for number in range(20):
        found = more(random.Random(number), scene, 14)
        texts = [text for text, _ in found]
        assert len(set(texts)) == len(texts) >= 12
        assert sum(answer == "white" for _, answer in found) == 1  # the background is asked for once


@pytest.mark.parametrize("number", range(20))
def test_a_look_up_asks_each_thing_for_its_colour_or_its_shape(number: int) -> None:
    scene = _things("large red star 15 15", "small blue circle 85 20", "small green heart 80 90")
    found = look_ups(random.Random(number), scene)
    forms = {
        thing.shape: {noun for language in SPOKEN.values() for noun in (language.nouns[thing.shape].one,)}
        | {colour_of(language, thing.colour, thing.shape) for language in SPOKEN.values()}
        for thing in scene.things
    }
    met = [{shape for shape, names in forms.items() if answer in names} for _, answer in found]
    assert len(found) == 3 and set().union(*met) == {"star", "circle", "heart"}


def test_steps_are_told_once_and_last() -> None:
    scene = _things("large red star 15 15", "small blue star 85 20", "small green heart 80 90")
    for number in range(40):
        answers = [answer for _, answer in more(random.Random(number), scene, 20)]
        assert [stepped(answer) for answer in answers] == [False] * (len(answers) - 1) + [True]


def test_what_is_ambiguous_is_not_asked() -> None:
    found = _asked(_things("small red star 15 50", "small red star 85 50"))
    named = {text for text, _ in found if re.search(rf"\b({'|'.join(SHAPES)})\b", text) and " a " not in f" {text}"}
    assert not {text for text in named if re.search(r"\bthe\b", text)}
    assert _answers(found, "red things") == {"2"}
    assert {answer for text, answer in found if re.search(rf"\ba ({'|'.join(COLOURS)}) ", text)} == {"yes", "no"}
