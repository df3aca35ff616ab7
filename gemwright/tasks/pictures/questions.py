"""Questions about pictures, drawn with the picture they are about, and their judge.

The key is the content of the picture, so that what is tested was never trained on with any question; and a question
is one with its picture: the same words about another picture are another question.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from gemwright.tasks import lexicon
from gemwright.tasks.item import RIGHT, Draw, Item, Verdict, normalise, user, wrong
from gemwright.tasks.judging import final, judge_number, last_line
from gemwright.tasks.pictures import compose, wording
from gemwright.tasks.pictures.compose import kinds, others, palette, scatter, shapes_but
from gemwright.tasks.pictures.scene import COLOURS, LEVELS, SHAPES, SIZES, Scene
from gemwright.tasks.pictures.wording import SPOKEN, filled
from gemwright.tasks.pictures.worked import ALL, compared, counted

SKILL = "pictures"
FEW, MOST = 4, 6  # the greatest number that most tasks ask for, and that one does

_ENGLISH_SHARE = 0.6
CLEAR = 0.12  # how far from the middle, as a share of the side, a thing is at the left, and from another left of it
# For each axis: near 0, near 1, as places in the picture and as relations to another thing.
SIDES = {
    "x": (("left", "on the left"), ("right", "on the right")),
    "y": (("top", "at the top"), ("bottom", "at the bottom")),
}
RELATIONS = {"x": ("left", "right"), "y": ("above", "below")}


def _item(task: str, text: str, scene: Scene, ideal: str, **check: object) -> Item:
    return Item(
        skill=SKILL,
        task=task,
        messages=user(text),
        ideal=ideal,
        key=f"picture {scene.content()}",
        check={**check, "scene": scene.to_json()},
    )


def _named(task: str, text: str, scene: Scene, answer: str, wrongs: Iterable[str], ideal: str = "") -> Item:
    """An item whose answer names something, and none of the other things that it could be."""
    barred = sorted(set(wrongs) - {answer})
    return _item(task, text, scene, ideal or answer, answer=answer, others=barred)


def a_language(random: random.Random) -> str:
    """The name of a language: mostly English."""
    return "English" if random.random() < _ENGLISH_SHARE else random.choice(lexicon.NAMES[1:])


def colour(random: random.Random) -> Item:
    """The colour of the only circle, in any language."""
    language, shape = SPOKEN[a_language(random)], random.choice(SHAPES)
    background, colours = palette(random)
    rest = kinds(random, random.randint(0, 3), shapes_but(shape), colours)
    scene = scatter(random, background, [(shape, colours[0]), *rest])
    text = wording.about_shape(random.choice(wording.COLOUR[language.name]), language, shape)
    answer = wording.colour_of(language, colours[0], shape)
    wrongs = [form for other in others(list(COLOURS), colours[0]) for form in language.words[other]]
    return _named("colour", text, scene, answer, wrongs)


def shape(random: random.Random) -> Item:
    """The shape of the only red thing, in any language."""
    language, shape = SPOKEN[a_language(random)], random.choice(SHAPES)
    background, (colour, *rest) = palette(random)
    scene = scatter(random, background, [(shape, colour), *kinds(random, random.randint(0, 3), SHAPES, rest)])
    text = wording.about_colour(random.choice(wording.SHAPE[language.name]), language, colour)
    return _named("shape", text, scene, language.nouns[shape].one, [noun.one for noun in language.nouns.values()])


def background(random: random.Random) -> Item:
    """The colour of the background."""
    behind, colours = palette(random)
    scene = scatter(random, behind, kinds(random, random.randint(1, 4), SHAPES, colours))
    return _named("background", random.choice(wording.BACKGROUND), scene, behind, COLOURS)


def count(random: random.Random) -> Item:
    """How many circles there are, none to four, in any language."""
    return _counted("count", random, random.randint(0, FEW))


def count_many(random: random.Random) -> Item:
    """How many circles there are, five or six, in any language."""
    return _counted("count_many", random, random.randint(FEW + 1, MOST))


def _counted(task: str, random: random.Random, number: int) -> Item:
    language, shape = SPOKEN[a_language(random)], random.choice(SHAPES)
    background, colours = palette(random)
    asked = kinds(random, number, (shape,), colours)
    rest = kinds(random, random.randint(not number, 2), shapes_but(shape), colours)
    scene = scatter(random, background, asked + rest)
    text = wording.about_shape(random.choice(wording.COUNT[language.name]), language, shape)
    return _item(task, text, scene, counted(scene, shape), number=number)


def count_colour(random: random.Random) -> Item:
    """How many red things there are, none to four."""
    number = random.randint(0, FEW)
    background, (colour, *colours) = palette(random)
    asked = kinds(random, number, SHAPES, (colour,))
    scene = scatter(random, background, asked + kinds(random, random.randint(not number, 2), SHAPES, colours))
    text = random.choice(wording.COUNT_THINGS).format(things=f"{colour} things")
    return _item("count_colour", text, scene, counted(scene, colour), number=number)


def count_all(random: random.Random) -> Item:
    """How many things there are, one to four."""
    number = random.randint(1, FEW)
    background, colours = palette(random)
    scene = scatter(random, background, kinds(random, number, SHAPES, colours))
    text = random.choice(wording.COUNT_THINGS).format(things=random.choice(("shapes", "things")))
    return _item("count_all", text, scene, counted(scene, ALL), number=number)


def place(random: random.Random) -> Item:
    """Is the only circle on the left or on the right, at the top or at the bottom?"""
    axis, (near, far) = random.choice(list(SIDES.items()))
    (low, at_low), (high, at_high) = near, far
    shape = random.choice(SHAPES)

    def draw() -> Scene:
        background, colours = palette(random)
        rest = kinds(random, random.randint(0, 3), shapes_but(shape), colours)
        return scatter(random, background, [(shape, colours[0]), *rest])

    scene = _until(draw, lambda scene: abs(scene.along(axis, scene.things[0]) - 0.5) >= CLEAR)
    answer = low if scene.along(axis, scene.things[0]) < 0.5 else high
    choice = " or ".join(random.sample((at_low, at_high), 2))
    name = random.choice((f"the {shape}", f"the {scene.things[0].name}"))
    text = filled(random.choice(wording.WHERE), a=name, choice=choice)
    return _named("place", text, scene, answer, (low, high))


def relation(random: random.Random) -> Item:
    """Is one thing left or right of another, above or below it?"""
    axis, (low, high) = random.choice(list(RELATIONS.items()))

    def apart(scene: Scene) -> float:
        one, other = scene.things[:2]
        return scene.along(axis, other) - scene.along(axis, one)

    scene = _until(lambda: _different(random, 2), lambda scene: abs(apart(scene)) >= CLEAR)
    one, other = scene.things[:2]
    choice = f"{' or '.join(random.sample((low, high), 2))}{' of' if axis == 'x' else ''} the {other.name}"
    text = filled(random.choice(wording.WHERE), a=f"the {one.name}", choice=choice)
    answer = low if apart(scene) > 0 else high
    return _named("relation", text, scene, answer, (low, high), ideal=compared(scene, axis, one, other, answer))


def larger(random: random.Random) -> Item:
    """Which of two things is larger, or smaller?"""
    sizes = random.sample(SIZES, 2)
    scene = _different(random, 2, sizes)
    one, other = scene.things[:2]
    more, size = random.choice((("larger", "large"), ("bigger", "large"), ("smaller", "small")))
    answer, wrong = (one, other) if one.size == size else (other, one)
    text = filled(random.choice(wording.LARGER), more=more, a=f"the {one.name}", b=f"the {other.name}")
    barred = {wrong.colour, wrong.shape} - {answer.colour, answer.shape}
    return _named("larger", text, scene, answer.name, barred, ideal=f"the {answer.name}")


def exists(random: random.Random) -> Item:
    """Is there a red circle? Where there is none, there mostly is another circle, or another red thing."""
    background, colours = palette(random)
    asked = (random.choice(SHAPES), colours[0])
    there = random.random() < 0.5
    near = [(asked[0], random.choice(colours[1:])), (random.choice(shapes_but(asked[0])), asked[1])]
    rest = random.sample(near, random.choice((0, 1, 2)))
    rest += kinds(random, random.randint(not (there or rest), 2), shapes_but(asked[0]), colours[1:])
    scene = scatter(random, background, [asked, *rest] if there else rest)
    text = filled(random.choice(wording.EXISTS), one=f"a {asked[1]} {asked[0]}")
    return _named("exists", text, scene, "yes" if there else "no", ("yes", "no"))


def chart_extreme(random: random.Random) -> Item:
    """The colour of the highest or the lowest bar."""
    scene = compose.chart(random)
    most, best = random.choice((("highest", max), ("tallest", max), ("lowest", min), ("shortest", min)))
    bar = best(scene.bars, key=lambda bar: bar.value)
    text = random.choice(wording.EXTREME_BAR).format(most=most)
    return _named("chart_extreme", text, scene, bar.colour, COLOURS)


def chart_value(random: random.Random) -> Item:
    """The value of a bar, from 1 to 10."""
    value = random.randint(1, LEVELS)
    scene = _until(lambda: compose.chart(random), lambda scene: any(bar.value == value for bar in scene.bars))
    (bar,) = (bar for bar in scene.bars if bar.value == value)
    text = random.choice(wording.BAR_VALUE).format(bar=f"{bar.colour} bar")
    return _item("chart_value", text, scene, str(value), number=value)


def written(
    task: str,
    random: random.Random,
    *,
    ratio: float | None = None,
    letter: float | None = None,
    height: int | None = None,
    across: bool = False,
) -> Item:
    """What is written in a picture: capitals or digits, two to six.

    `ratio` is width over height (0.8 to 6), `letter` the room of a letter as a share of the width (up to 0.15),
    `height` that of the picture in pixels. A picture that is made `side` pixels wide leaves a letter `letter` · `side`
    of them: at 3 or fewer nobody reads it, and pan & scan into n parts leaves it n times as many. `across` puts the
    text over the border of two parts, where pan & scan cuts it. By default the picture is up to three times as wide as
    high, and the text fills much of it.

    Raises:
        ValueError: a size out of range, or a text over a border in a picture that is not cut.
    """
    text = compose.text(random)
    ratio = random.uniform(0.8, 3) if ratio is None else ratio
    height = random.randint(90, 240) if height is None else height
    if not (0.8 <= ratio <= 6 and (letter is None or 0 < letter <= 0.15)):
        raise ValueError(f"a letter has up to 0.15 of the width, not {letter}; the ratio is 0.8 to 6, not {ratio}")
    letter = random.uniform(0.65, 0.9) / len(text) if letter is None else letter
    if height * ratio * letter < 8:
        raise ValueError(f"a letter {height * ratio * letter:.1f} pixels wide cannot be read: at least 8")
    if across and (ratio < 1.5 or ratio * letter * len(text) >= 0.9):
        raise ValueError("a text over a border needs a ratio of 1.5 or more, and letters that fit into a part")
    scene = compose.sign(random, text, ratio, letter, height, across)
    return _item(task, random.choice(wording.READ), scene, text, read=text)


def word(random: random.Random) -> Item:
    """A text that fills the picture."""
    return written("word", random)


def fine_print(random: random.Random) -> Item:
    """A small text in a picture four times as wide as high. Made 112 pixels wide it leaves a letter fewer than 2, made
    224 wide fewer than 4; pan & scan leaves it four times as many."""
    ratio, letter = random.uniform(4.0, 4.4), random.uniform(0.0145, 0.0165)
    return written("fine_print", random, ratio=ratio, letter=letter, height=random.randint(256, 288))


def word_at(random: random.Random) -> Item:
    """One of two texts: the one on the left or right, at the top or bottom."""
    axis = random.choice(("x", "y"))
    scene = compose.signs(random, upright=axis == "y")
    side = random.choice((0, 1))
    text = filled(random.choice(wording.READ_AT), place=SIDES[axis][side][1])
    return _item("word_at", text, scene, scene.words[side].text, read=scene.words[side].text)


def _different(random: random.Random, least: int, sizes: Iterable[str] = ()) -> Scene:
    """Up to two things more than `least`, no two of one shape and colour."""
    background, colours = palette(random)
    every = [(shape, colour) for shape in SHAPES for colour in colours]
    return scatter(random, background, random.sample(every, least + random.randint(0, 2)), list(sizes))


def _until(draw: Callable[[], Scene], fits: Callable[[Scene], bool]) -> Scene:
    while not fits(scene := draw()):
        pass
    return scene


TASKS: dict[str, Draw] = {
    "colour": colour,
    "shape": shape,
    "background": background,
    "count": count,
    "count_many": count_many,
    "count_colour": count_colour,
    "count_all": count_all,
    "place": place,
    "relation": relation,
    "larger": larger,
    "exists": exists,
    "chart_extreme": chart_extreme,
    "chart_value": chart_value,
    "word": word,
    "word_at": word_at,
    "fine_print": fine_print,
}


def judge(item: Item, answer: str) -> Verdict:
    """A number must be come to; a text must be read letter by letter, in any case; of what can be named, the answer, or
    what its steps come to, must name what is true and nothing else."""
    check = item.check
    if "number" in check:
        return judge_number(answer, check["number"])
    if "read" in check:
        right = normalise(answer) == normalise(check["read"])
        return RIGHT if right else wrong(f"{answer.strip()[:60]!r} is not {check['read']}")
    named = normalise(final(answer) if last_line(answer).startswith("=") else answer).split()
    if missing := [each for each in normalise(check["answer"]).split() if each not in named]:
        return wrong(f"{answer.strip()[:60]!r} does not name {missing[0]!r}")
    if also := [each for each in check["others"] if normalise(each) in named]:
        return wrong(f"also names {also[0]!r}")
    return RIGHT
