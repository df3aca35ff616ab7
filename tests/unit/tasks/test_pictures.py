"""Questions about pictures: true of the scene, said in many ways, judged, and split by what the picture holds."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest

from gemwright.tasks import lexicon
from gemwright.tasks.grammar import form
from gemwright.tasks.item import Item
from gemwright.tasks.judging import final, final_number
from gemwright.tasks.pictures import wording
from gemwright.tasks.pictures.alphabet import extent
from gemwright.tasks.pictures.questions import SKILL, TASKS, judge, written
from gemwright.tasks.pictures.scene import COLOURS, SHAPES, Scene
from gemwright.tasks.pictures.wording import SPOKEN, about_colour, about_shape
from gemwright.tasks.split import Side, draw, side_of

COUNTS = ("count", "count_many", "count_colour", "count_all")


def _items(task: str, count: int = 60) -> Iterator[Item]:
    for number in range(count):
        yield TASKS[task](random.Random(f"{task} {number}"))


def _scene(item: Item) -> Scene:
    return Scene.from_json(item.check["scene"])


def _english(task: str, count: int = 200) -> Iterator[tuple[str, Scene, str]]:
    """Question, scene and ideal of the items that ask in English."""
    words = {word for template in (wording.COLOUR, wording.SHAPE, wording.COUNT) for word in template["English"]}
    starts = {word.split()[0] for word in words}
    for item in _items(task, count):
        text = item.messages[0].text
        if task not in ("colour", "shape", "count", "count_many") or text.split()[0] in starts:
            yield text, _scene(item), item.ideal


@pytest.mark.parametrize("task", TASKS)
def test_a_judge_accepts_every_ideal(task: str) -> None:
    for item in _items(task, 150):
        for answer in (item.ideal, f"{item.ideal}\n", f"{item.ideal}.", item.ideal.capitalize()):
            verdict = judge(item, answer)
            assert verdict.score == 1.0 and not verdict.reason, (item, answer)


@pytest.mark.parametrize("task", TASKS)
def test_a_judge_rejects_nothing_the_question_and_less_or_more_than_the_answer(task: str) -> None:
    for item in _items(task):
        longer = f"{item.ideal}{1 if item.ideal[-1].isdigit() else 'x'}"
        for answer in ("", "\n", item.messages[-1].text, item.ideal.rpartition(" ")[0], item.ideal[:-1], longer):
            verdict = judge(item, answer)
            assert verdict.score == 0.0 and verdict.reason, (item, answer)


@pytest.mark.parametrize("task", TASKS)
def test_a_judge_rejects_the_ideal_of_another_question_and_both_at_once(task: str) -> None:
    seen = 0
    pool = list(_items(task, 120))
    for item, other in pairwise(pool):
        if final(item.ideal) != final(other.ideal):
            seen += 1
            assert judge(item, other.ideal).score == 0.0, (item, other.ideal)
            if "others" in item.check and other.check["answer"] in item.check["others"]:
                assert judge(item, f"{item.ideal} or {other.ideal}").score == 0.0
    assert seen > 40


def test_an_answer_may_be_a_sentence() -> None:
    item = next(_items("colour", 1))
    assert judge(item, f"The thing is {item.ideal}.").score == 1.0
    assert judge(item, f"It is {item.ideal}, not {item.check['others'][0]}.").score == 0.0


@pytest.mark.parametrize("task", TASKS)
def test_an_item_survives_its_record(task: str) -> None:
    for item in _items(task, 10):
        assert Item.from_json(item.to_json()) == item
        assert (item.skill, item.task) == (SKILL, task)


@pytest.mark.parametrize("task", TASKS)
def test_texts_are_whole(task: str) -> None:
    for item in _items(task, 150):
        for message in item.conversation():
            assert message.text and message.text == message.text.strip() and "  " not in message.text
            assert not re.search(r"[{}_]", message.text), message.text


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_said_in_at_least_six_ways(task: str) -> None:
    ways = {(*item.messages[0].text.split()[:2], item.messages[0].text.split()[-1]) for item in _items(task, 200)}
    assert len(ways) >= 6


# ----------------------------------------------------------------------------------------------------------------------
# Truth: the answer is found again from the words of the question and the scene


def test_the_colour_is_that_of_the_only_such_shape() -> None:
    for text, scene, ideal in _english("colour"):
        (thing,) = (thing for thing in scene.things if re.search(rf"\b{thing.shape}\b", text))
        assert thing.colour == ideal


def test_the_shape_is_that_of_the_only_thing_of_the_colour() -> None:
    for text, scene, ideal in _english("shape"):
        (thing,) = (thing for thing in scene.things if re.search(rf"\b{thing.colour}\b", text))
        assert thing.shape == ideal


@pytest.mark.parametrize("task", COUNTS)
def test_a_count_is_the_number_of_things(task: str) -> None:
    for text, scene, ideal in _english(task):
        named = re.findall(rf"\b({'|'.join((*SHAPES, *COLOURS))})e?s?\b", text.lower())
        things = [thing for thing in scene.things if not named or named[0] in (thing.shape, thing.colour)]
        assert final_number(ideal) == len(things), text


def test_existence_is_that_of_a_thing_of_shape_and_colour() -> None:
    hard = 0
    for text, scene, ideal in _english("exists"):
        (colour,) = (colour for colour in COLOURS if re.search(rf"\b{colour}\b", text))
        (shape,) = (shape for shape in SHAPES if re.search(rf"\b{shape}\b", text))
        there = any((thing.shape, thing.colour) == (shape, colour) for thing in scene.things)
        assert ideal == ("yes" if there else "no"), text
        hard += not there and any(shape == thing.shape or colour == thing.colour for thing in scene.things)
    assert hard > 30


def test_place_and_relation_follow_the_coordinates() -> None:
    for text, scene, ideal in _english("place"):
        (thing,) = (thing for thing in scene.things if re.search(rf"\b{thing.shape}\b", text))
        x, y = thing.x / scene.width, thing.y / scene.height
        assert {"left": x < 0.4, "right": x > 0.6, "top": y < 0.4, "bottom": y > 0.6}[ideal]
    for text, scene, ideal in _english("relation"):
        order = sorted(scene.things, key=lambda thing: text.find(f"{thing.colour} {thing.shape}"))
        one, other = [thing for thing in order if f"{thing.colour} {thing.shape}" in text]
        across, down = one.x - other.x, one.y - other.y
        assert {"left": across < 0, "right": across > 0, "above": down < 0, "below": down > 0}[final(ideal)]


def test_the_larger_thing_is_the_larger_one() -> None:
    for text, scene, ideal in _english("larger"):
        one, other = [thing for thing in scene.things if f"{thing.colour} {thing.shape}" in text]
        large, small = (one, other) if one.radius > other.radius else (other, one)
        named = small if "smaller" in text else large
        assert ideal == f"the {named.colour} {named.shape}" and large.radius > 1.5 * small.radius


def test_charts_are_read_rightly() -> None:
    for text, scene, ideal in _english("chart_extreme"):
        best = (min if re.search("lowest|shortest", text) else max)(bar.value for bar in scene.bars)
        assert [bar.value for bar in scene.bars if bar.colour == ideal] == [best]
    for text, scene, ideal in _english("chart_value"):
        assert [str(bar.value) for bar in scene.bars if f"{bar.colour} bar" in text] == [ideal]


def test_the_text_asked_for_is_at_its_place() -> None:
    for text, scene, ideal in _english("word_at"):
        middle = {word.text: (word.x + extent(word.text, word.height) / 2, word.y) for word in scene.words}
        (other,) = (word for word in middle if word != ideal)
        (x, y), (other_x, other_y) = middle[ideal], middle[other]
        side = re.search("left|right|top|bottom", text)
        assert side and {"left": x < other_x, "right": x > other_x, "top": y < other_y, "bottom": y > other_y}[side[0]]


@pytest.mark.parametrize("task", ["place", "relation", "exists", "background", *COUNTS, "chart_value"])
def test_no_answer_can_be_guessed(task: str) -> None:
    found = Counter(final(item.ideal) for item in _items(task, 400))
    assert max(found.values()) < 1.6 * 400 / len(found)
    assert task != "count" or set(found) == set("01234")


# ----------------------------------------------------------------------------------------------------------------------
# Languages


def test_questions_are_asked_rightly_in_six_languages() -> None:
    first = {name: wording.COLOUR[name][0] for name in lexicon.NAMES}
    assert [about_shape(first[name], SPOKEN[name], "star") for name in lexicon.NAMES] == [
        "What colour is the star?",
        "Welche Farbe hat der Stern?",
        "De quelle couleur est l'étoile ?",
        "¿De qué color es la estrella?",
        "Какого цвета звезда?",
        "Τι χρώμα έχει το αστέρι;",
    ]
    first = {name: wording.COUNT[name][0] for name in lexicon.NAMES}
    assert [about_shape(first[name], SPOKEN[name], "star") for name in lexicon.NAMES] == [
        "How many stars are here?",
        "Wie viele Sterne sind hier?",
        "Combien d'étoiles y a-t-il ici ?",
        "¿Cuántas estrellas hay aquí?",
        "Сколько здесь звёзд?",
        "Πόσα αστέρια είναι εδώ;",
    ]
    first = {name: wording.SHAPE[name][0] for name in lexicon.NAMES}
    assert [about_colour(first[name], SPOKEN[name], "green") for name in lexicon.NAMES] == [
        "What shape is green?",
        "Welche Form ist grün?",
        "Quelle forme est verte ?",
        "¿Qué figura es verde?",
        "Какая фигура здесь зелёная?",
        "Ποιο σχήμα είναι πράσινο;",
    ]


def test_a_colour_agrees_with_its_shape_and_in_greek_with_the_word_colour() -> None:
    said = [wording.colour_of(SPOKEN[name], "white", "star") for name in lexicon.NAMES]
    assert said == ["white", "weiß", "blanche", "blanca", "белая", "άσπρο"]
    said = [wording.colour_of(SPOKEN[name], "white", "circle") for name in lexicon.NAMES]
    assert said == ["white", "weiß", "blanc", "blanco", "белый", "άσπρο"]


def test_a_colour_in_the_wrong_gender_is_wrong() -> None:
    for item in _items("colour", 3000):
        if item.ideal == "verte":
            assert judge(item, "Elle est verte.").score == 1.0
            assert judge(item, "vert").score == 0.0
            return
    raise AssertionError("no green thing was asked about in French")


@pytest.mark.parametrize("name", lexicon.NAMES)
def test_no_shape_and_colour_share_a_word(name: str) -> None:
    language = SPOKEN[name]
    shapes = {noun.one for noun in language.nouns.values()}
    colours = [form(language, colour, shape) for colour in COLOURS for shape in SHAPES]
    assert len(shapes) == len(SHAPES) and not shapes & set(colours)


@pytest.mark.parametrize("task", ["colour", "shape", "count"])
def test_every_language_is_asked_in_and_english_most(task: str) -> None:
    table = {"colour": wording.COLOUR, "shape": wording.SHAPE, "count": wording.COUNT}[task]
    assert all(len(table[name]) >= (6 if name == "English" else 3) for name in lexicon.NAMES)
    owners: dict[str, str] = {}
    fill, words = (about_colour, COLOURS) if task == "shape" else (about_shape, SHAPES)
    for name in lexicon.NAMES:
        owners |= {fill(template, SPOKEN[name], word): name for template in table[name] for word in words}
    found = Counter(owners[item.messages[0].text] for item in _items(task, 500))
    assert set(found) == set(lexicon.NAMES)
    assert 0.5 < found["English"] / 500 < 0.7


# ----------------------------------------------------------------------------------------------------------------------
# The split, and what can be set


@pytest.mark.parametrize("task", TASKS)
def test_no_picture_of_the_test_side_is_trained_on(task: str) -> None:
    counts: tuple[tuple[Side, int], ...] = (("train", 200), ("test", 20))
    sides = {
        side: {_scene(draw(TASKS[task], side, random.Random(number))).content() for number in range(count)}
        for side, count in counts
    }
    assert len(sides["test"]) >= 15 and not sides["train"] & sides["test"]


def test_pictures_with_one_content_lie_on_one_side_whatever_is_asked() -> None:
    keys: dict[str, set[str]] = {}
    for task in TASKS:
        for item in _items(task, 30):
            keys.setdefault(_scene(item).content(), set()).add(side_of(item.key))
    assert all(len(sides) == 1 for sides in keys.values())


def test_a_texts_size_and_the_form_of_its_picture_can_be_chosen() -> None:
    item = written("test", random.Random(0), ratio=3.0, letter=0.04, height=200)
    scene = _scene(item)
    (word,) = scene.words
    assert (scene.width, scene.height) == (600, 200)
    assert extent(word.text * 2, word.height) - extent(word.text, word.height) == pytest.approx(
        len(word.text) * 0.04 * 600, rel=0.01
    )


def test_a_text_across_lies_over_a_border_that_pan_and_scan_cuts() -> None:
    for number in range(50):
        item = written("test", random.Random(number), ratio=4.0, letter=0.02, height=256, across=True)
        scene = _scene(item)
        (word,) = scene.words
        middle = word.x + extent(word.text, word.height) / 2
        assert min(abs(middle - border * scene.width / 4) for border in (1, 2, 3)) < 1


@pytest.mark.parametrize(
    "options",
    [{"ratio": 0.5}, {"letter": 0.2}, {"letter": 0.01, "ratio": 1.0}, {"ratio": 1.2, "letter": 0.05, "across": True}],
)
def test_a_size_out_of_range_is_refused(options: dict) -> None:
    with pytest.raises(ValueError, match=r"ratio|pixels"):
        written("test", random.Random(0), **options)
