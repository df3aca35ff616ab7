"""More questions about a picture that is there already: training asks several about one, tests never do.

What `questions` draws a picture for, `more` finds in one: the answers come from the scene alone.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from gemwright.tasks.pictures import wording
from gemwright.tasks.pictures.questions import CLEAR, MOST, RELATIONS, SIDES, a_language
from gemwright.tasks.pictures.scene import COLOURS, SHAPES, Scene, Thing
from gemwright.tasks.pictures.wording import SPOKEN, filled
from gemwright.tasks.pictures.worked import ALL, compared, counted, fits

Pair = tuple[str, str]  # question and answer
Kind = Callable[[random.Random, Scene], Pair | None]

_ROUNDS = 2  # in which each kind of question is asked for once more


def more(generator: random.Random, scene: Scene, most: int) -> list[Pair]:
    """Up to `most` questions with their answers, no two alike, of as many kinds as there are; none about a picture that
    allows none. The colour of the background and the number of all things are asked once. One answer at most has steps,
    and it is the last: after it, the picture could be read from the text."""
    kinds = _THINGS if scene.things else _BARS if scene.bars else _WORDS
    every = generator.sample(kinds, len(kinds))
    found: dict[str, str] = {}
    for kind in every + [kind for kind in every if kind not in _ONCE] * _ROUNDS:
        pair = kind(generator, scene)
        if pair is None or len(found) == most or (stepped(pair[1]) and any(map(stepped, found.values()))):
            continue
        found.setdefault(*pair)
    return sorted(found.items(), key=lambda pair: stepped(pair[1]))


def stepped(answer: str) -> bool:
    """Has an answer steps before what it comes to?"""
    return "\n" in answer


def look_ups(generator: random.Random, scene: Scene) -> list[Pair]:
    """For each thing, of a shape and a colour that no other has, its colour or its shape; in any order."""
    found = []
    for thing in scene.things:
        language = SPOKEN[a_language(generator)]
        asked = _colour_of if generator.random() < 0.5 else _shape_of
        found.append(asked(generator, language, thing))
    generator.shuffle(found)
    return found


def counts(generator: random.Random, scene: Scene) -> list[Pair]:
    """Up to two counts of things: of a shape, of a colour, of all."""
    return _drawn(
        generator, scene, generator.sample((_count, _count, _count, _count_colour, _count_colour, _count_all), 2)
    )


def places(generator: random.Random, scene: Scene) -> list[Pair]:
    """On which side of the picture things lie: up to four questions, of one thing not the same twice."""
    return _drawn(generator, scene, [_place] * 8)[:4]


def relations(generator: random.Random, scene: Scene) -> list[Pair]:
    """Up to two questions, which of two things lies where."""
    return _drawn(generator, scene, [_relation] * 2)


def existences(generator: random.Random, scene: Scene) -> list[Pair]:
    """Up to two questions, whether there is such a thing."""
    return _drawn(generator, scene, [_exists] * 2)


def _drawn(generator: random.Random, scene: Scene, kinds: Sequence[Kind]) -> list[Pair]:
    """A question of each kind, none twice."""
    return list(dict(pair for kind in kinds if (pair := kind(generator, scene))).items())


def _language(generator: random.Random) -> wording.Language:
    """Any of them as often: what tests ask mostly in English is learnt in all."""
    return generator.choice(list(SPOKEN.values()))


def _colour_of(generator: random.Random, language: wording.Language, thing: Thing) -> Pair:
    text = wording.about_shape(generator.choice(wording.COLOUR[language.name]), language, thing.shape)
    return text, wording.colour_of(language, thing.colour, thing.shape)


def _shape_of(generator: random.Random, language: wording.Language, thing: Thing) -> Pair:
    text = wording.about_colour(generator.choice(wording.SHAPE[language.name]), language, thing.colour)
    return text, language.nouns[thing.shape].one


def _alone(scene: Scene, name: Callable[[Thing], object]) -> list[Thing]:
    """The things that no other one shares the name with."""
    counts = Counter(name(thing) for thing in scene.things)
    return [thing for thing in scene.things if counts[name(thing)] == 1]


def _kind(thing: Thing) -> tuple[str, str]:
    return thing.shape, thing.colour


def _colour(generator: random.Random, scene: Scene) -> Pair | None:
    things = _alone(scene, lambda thing: thing.shape)
    return _colour_of(generator, _language(generator), generator.choice(things)) if things else None


def _shape(generator: random.Random, scene: Scene) -> Pair | None:
    things = _alone(scene, lambda thing: thing.colour)
    return _shape_of(generator, _language(generator), generator.choice(things)) if things else None


def _background(generator: random.Random, scene: Scene) -> Pair:
    return generator.choice(wording.BACKGROUND), scene.background


def _asked_for(generator: random.Random, there: set[str], every: tuple[str, ...]) -> str:
    """Mostly something that is there."""
    return generator.choice(sorted(there) if generator.random() < 0.75 else every)


def _count(generator: random.Random, scene: Scene) -> Pair | None:
    shape = _asked_for(generator, {thing.shape for thing in scene.things}, SHAPES)
    language = _language(generator)
    text = wording.about_shape(generator.choice(wording.COUNT[language.name]), language, shape)
    return _counted(text, scene, shape)


def _count_colour(generator: random.Random, scene: Scene) -> Pair | None:
    others = tuple(name for name in COLOURS if name != scene.background)
    colour = _asked_for(generator, {thing.colour for thing in scene.things}, others)
    text = generator.choice(wording.COUNT_THINGS).format(things=f"{colour} things")
    return _counted(text, scene, colour)


def _count_all(generator: random.Random, scene: Scene) -> Pair | None:
    things = generator.choice(("shapes", "things"))
    return _counted(generator.choice(wording.COUNT_THINGS).format(things=things), scene, ALL)


def _counted(text: str, scene: Scene, what: str) -> Pair | None:
    return (text, counted(scene, what)) if sum(fits(thing, what) for thing in scene.things) <= MOST else None


def _place(generator: random.Random, scene: Scene) -> Pair | None:
    axis = generator.choice(list(SIDES))
    things = [one for one in _alone(scene, _kind) if abs(scene.along(axis, one) - 0.5) >= CLEAR]
    if not things:
        return None
    thing, sides = generator.choice(things), SIDES[axis]
    single = thing in _alone(scene, lambda one: one.shape) and generator.random() < 0.5
    choice = " or ".join(generator.sample([said for _, said in sides], 2))
    text = filled(generator.choice(wording.WHERE), a=f"the {thing.shape if single else thing.name}", choice=choice)
    return text, sides[scene.along(axis, thing) > 0.5][0]


def _relation(generator: random.Random, scene: Scene) -> Pair | None:
    axis, things = generator.choice(list(RELATIONS)), _alone(scene, _kind)
    pairs = [
        (one, other)
        for one in things
        for other in things
        if abs(scene.along(axis, one) - scene.along(axis, other)) >= CLEAR
    ]
    if not pairs:
        return None
    one, other = generator.choice(pairs)
    low, high = RELATIONS[axis]
    choice = f"{' or '.join(generator.sample((low, high), 2))}{' of' if axis == 'x' else ''} the {other.name}"
    text = filled(generator.choice(wording.WHERE), a=f"the {one.name}", choice=choice)
    answer = low if scene.along(axis, one) < scene.along(axis, other) else high
    return text, compared(scene, axis, one, other, answer)


def _larger(generator: random.Random, scene: Scene) -> Pair | None:
    things = _alone(scene, _kind)
    pairs = [(large, small) for large in things for small in things if (large.size, small.size) == ("large", "small")]
    if not pairs:
        return None
    pair = generator.choice(pairs)
    more = generator.choice(("larger", "bigger", "smaller"))
    a, b = generator.sample(pair, 2)
    text = filled(generator.choice(wording.LARGER), more=more, a=f"the {a.name}", b=f"the {b.name}")
    return text, f"the {pair[more == 'smaller'].name}"


def _exists(generator: random.Random, scene: Scene) -> Pair:
    kinds = [_kind(thing) for thing in scene.things]
    shape, colour = generator.choice(kinds)
    if generator.random() < 0.5:  # what is not there has mostly the shape or the colour of something that is
        colour = generator.choice([name for name in COLOURS if name != scene.background])
        shape = generator.choice((shape, generator.choice(SHAPES)))
    text = filled(generator.choice(wording.EXISTS), one=f"a {colour} {shape}")
    return text, "yes" if (shape, colour) in kinds else "no"


def _value(generator: random.Random, scene: Scene) -> Pair:
    bar = generator.choice(scene.bars)
    return generator.choice(wording.BAR_VALUE).format(bar=f"{bar.colour} bar"), str(bar.value)


def _extreme(generator: random.Random, scene: Scene) -> Pair:
    most, best = generator.choice((("highest", max), ("tallest", max), ("lowest", min), ("shortest", min)))
    bar = best(scene.bars, key=lambda bar: bar.value)
    return generator.choice(wording.EXTREME_BAR).format(most=most), bar.colour


_THINGS: tuple[Kind, ...] = (
    _colour,
    _shape,
    _background,
    _count,
    _count_colour,
    _count_all,
    _place,
    _relation,
    _larger,
    _exists,
)
_ONCE = (_background, _count_all)
_BARS = (_value, _extreme)
_WORDS: tuple[Kind, ...] = ()
