"""Pictures show what their scenes say: read back from the pixels."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections import Counter

import pytest
from PIL import Image, ImageChops

from gemwright.tasks.arithmetic import TASKS as SUMS
from gemwright.tasks.pictures.alphabet import LETTERS, extent
from gemwright.tasks.pictures.draw import draw, picture
from gemwright.tasks.pictures.questions import TASKS
from gemwright.tasks.pictures.scene import COLOURS, SHAPES, Bar, Scene, Thing, Word

SMALLEST_LETTER = 7  # pixels: the height of the least letter of the fine print in a picture made 112 high
SMALLEST_THING = 7  # pixels: the radius of the least thing in a picture made 112 on its longer side


def _thing(shape: str, radius: int, colour: str = "black") -> Image.Image:
    thing = Thing(shape=shape, colour=colour, size="small", x=radius + 1, y=radius + 1, radius=radius)
    return draw(Scene(width=2 * radius + 2, height=2 * radius + 2, background="white", things=(thing,)))


def _letter(letter: str, height: int) -> Image.Image:
    word = Word(text=letter, colour="black", x=1, y=1, height=height)
    return draw(Scene(width=height, height=height + 2, background="white", words=(word,))).convert("L")


def _drawn(task: str, count: int) -> list[tuple[Scene, Image.Image]]:
    drawn = [TASKS[task](random.Random(number)) for number in range(count)]
    return [(Scene.from_json(item.check["scene"]), picture(item)) for item in drawn]


def _difference(one: Image.Image, other: Image.Image) -> float:
    """In whole pixels from white to black."""
    return sum(ImageChops.difference(one.convert("L"), other.convert("L")).tobytes()) / 255


def _islands(image: Image.Image, background: str) -> int:
    """Connected parts that differ from the background, counted on the pixels alone."""
    plain = Image.new("RGB", image.size, COLOURS[background])
    red, green, blue = ImageChops.difference(image, plain).split()
    mask = ImageChops.lighter(ImageChops.lighter(red, green), blue).tobytes()
    left = {place for place, value in enumerate(mask) if value}
    islands = 0
    while left:
        islands += 1
        edge = [left.pop()]
        while edge:
            place = edge.pop()
            for step in (1, -1, image.width, -image.width):
                if place + step in left:
                    left.remove(place + step)
                    edge.append(place + step)
    return islands


GOLDEN = {
    "shapes": Scene(
        width=360,
        height=100,
        background="white",
        things=tuple(
            Thing(shape=shape, colour=colour, size="small", x=30 + 50 * place, y=50, radius=22)
            for place, (shape, colour) in enumerate(
                zip(SHAPES, ("red", "green", "blue", "yellow", "black", "grey", "red"), strict=True)
            )
        ),
    ),
    "letters": Scene(
        width=320,
        height=60,
        background="blue",
        words=(
            Word(text="ABCDEFGHIJKLMNOPQR", colour="white", x=4, y=4, height=18),
            Word(text="STUVWXYZ0123456789", colour="yellow", x=4, y=34, height=18.5),
        ),
    ),
    "chart": Scene(
        width=150, height=120, background="black", bars=(Bar(colour="red", value=3), Bar(colour="grey", value=10))
    ),
}
SHA256 = {
    "shapes": "6493dbfa2d6f86d7e017e4534353c002e348fcf042627755e5f5417e282b7aa7",
    "letters": "8820ac7e037d1e0e35fa09a97bdd6e391d87a0d6ce9ab2aec8f57a0bc9b61226",
    "chart": "8cb6c61d261b516611fd6f76c6e30b213716ee1ec12a66bde5cc668742ee4bae",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_scene_has_the_same_pixels_everywhere(name: str) -> None:
    image = draw(GOLDEN[name])
    assert (image.mode, image.size) == ("RGB", (GOLDEN[name].width, GOLDEN[name].height))
    assert hashlib.sha256(image.tobytes()).hexdigest() == SHA256[name]


@pytest.mark.parametrize("task", TASKS)
def test_an_items_picture_is_drawn_again_from_its_record(task: str) -> None:
    item = TASKS[task](random.Random(5))
    assert picture(item).tobytes() == picture(type(item).from_json(item.to_json())).tobytes()


def test_a_question_without_a_picture_is_told() -> None:
    with pytest.raises(ValueError, match="has no picture"):
        picture(next(iter(SUMS.values()))(random.Random(0)))


@pytest.mark.parametrize("task", ["count", "count_all", "larger"])
def test_the_picture_has_as_many_islands_as_the_scene_has_things(task: str) -> None:
    for scene, image in _drawn(task, 6):
        assert _islands(image, scene.background) == len(scene.things)


@pytest.mark.parametrize("task", ["colour", "count", "exists", "relation"])
def test_things_lie_apart_and_within_the_picture(task: str) -> None:
    for scene in (scene for scene, _ in _drawn(task, 40)):
        for thing in scene.things:
            assert thing.radius < thing.x < scene.width - thing.radius
            assert thing.radius < thing.y < scene.height - thing.radius
        for one, other in itertools.combinations(scene.things, 2):
            assert (one.x - other.x) ** 2 + (one.y - other.y) ** 2 > (one.radius + other.radius) ** 2


@pytest.mark.parametrize("task", ["colour", "count_colour", "exists"])
def test_the_middle_of_a_thing_and_the_corner_have_the_colours_of_the_scene(task: str) -> None:
    for scene, image in _drawn(task, 20):
        assert image.getpixel((0, 0)) == COLOURS[scene.background]
        assert all(image.getpixel((thing.x, thing.y)) == COLOURS[thing.colour] for thing in scene.things)


def test_every_colour_of_the_scene_and_no_other_fills_the_picture() -> None:
    names = {colour: name for name, colour in COLOURS.items()}
    for scene, image in _drawn("count_all", 20):
        found = {colour: number for number, colour in image.getcolors(image.width * image.height) or []}
        filled = {name for colour, name in names.items() if colour in found}
        assert filled == {scene.background, *(thing.colour for thing in scene.things)}
        mixed = sum(number for colour, number in found.items() if colour not in names)
        assert mixed < 0.04 * image.width * image.height  # the smooth edges


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_lies_within_its_radius_and_fills_much_of_it(shape: str) -> None:
    image = _thing(shape, 100).convert("L")
    marks = {(place % 202, place // 202) for place, value in enumerate(image.tobytes()) if value < 128}
    assert all((x - 101) ** 2 + (y - 101) ** 2 <= 102**2 for x, y in marks)
    wide, high = (max(values) - min(values) + 1 for values in zip(*marks, strict=True))
    assert wide > 130 and high > 130 and len(marks) > 0.4 * 3.14 * 100**2


def test_shapes_differ_in_a_ninth_of_their_square_at_the_smallest_size() -> None:
    images = {shape: _thing(shape, SMALLEST_THING) for shape in SHAPES}
    room = (2 * SMALLEST_THING) ** 2
    for one, other in itertools.combinations(SHAPES, 2):
        assert _difference(images[one], images[other]) > room / 9, (one, other)


def test_a_large_thing_fills_more_than_a_small_one_whatever_their_shapes() -> None:
    for scene, image in _drawn("larger", 60):
        area = {}
        for thing in scene.things:
            box = (thing.x - thing.radius, thing.y - thing.radius, thing.x + thing.radius, thing.y + thing.radius)
            cut = image.crop(box)
            colours = {colour: number for number, colour in cut.getcolors(cut.width * cut.height) or []}
            area[thing.size] = [*area.get(thing.size, []), colours[COLOURS[thing.colour]]]
        assert min(area["large"]) > max(area["small"])


@pytest.mark.parametrize("height", [SMALLEST_LETTER, 10, 15, 30])
def test_no_two_letters_look_alike(height: int) -> None:
    images = {letter: _letter(letter, height) for letter in LETTERS}
    assert len(images) == 36
    for one, other in itertools.combinations(LETTERS, 2):
        # In units of the strokes: a seventh of the height, squared.
        assert _difference(images[one], images[other]) / (height / 7) ** 2 > 2.5, (one, other)


@pytest.mark.parametrize("letter", LETTERS)
def test_a_letter_fills_its_height_and_stays_in_its_room(letter: str) -> None:
    left, top, right, bottom = ImageChops.invert(_letter(letter, 40)).getbbox() or (0, 0, 0, 0)
    assert left >= 1 and right <= 1 + extent(letter, 40) + 1
    assert (top, bottom) in {(1, 41), (1, 42)}


@pytest.mark.parametrize(("task", "least"), [("word", 10), ("word_at", 10)])
def test_words_lie_within_the_picture_and_are_large_enough_when_it_is_made_112_pixels(task: str, least: float) -> None:
    for number in range(300):
        scene = Scene.from_json(TASKS[task](random.Random(number)).check["scene"])
        for word in scene.words:
            wide = extent(word.text, word.height)
            assert word.x >= 0 and word.x + wide <= scene.width
            assert word.y >= 0 and word.y + word.height <= scene.height
            assert word.height * 112 / scene.height >= least
            assert wide / len(word.text) * 112 / scene.width >= least


def test_a_word_contrasts_with_its_background() -> None:
    for scene, image in _drawn("word", 40):
        low, high = image.convert("L").getextrema()
        assert isinstance(low, int) and isinstance(high, int) and high - low >= 58, scene


def test_bars_are_as_high_as_their_values_say() -> None:
    for scene, image in _drawn("chart_value", 20):
        heights = {}
        for bar in scene.bars:
            plain = Image.new("RGB", image.size, COLOURS[bar.colour])
            red, green, blue = ImageChops.difference(image, plain).split()
            other = ImageChops.lighter(ImageChops.lighter(red, green), blue).tobytes()
            columns = Counter(place % image.width for place, value in enumerate(other) if not value)
            heights[bar.value] = max(columns.values())
        tallest = max(heights)
        for value, height in heights.items():
            assert abs(height - heights[tallest] * value / tallest) <= 2.5


def test_fine_print_is_too_narrow_in_the_whole_picture_and_wide_enough_in_a_quarter() -> None:
    for number in range(100):
        scene = Scene.from_json(TASKS["fine_print"](random.Random(number)).check["scene"])
        (word,) = scene.words
        quarter = scene.width / 4
        left, right = word.x, word.x + extent(word.text, word.height)
        assert left // quarter == right // quarter, "cut by pan & scan"
        letter = (right - left) / len(word.text)
        assert letter * 224 / scene.width < 4 and letter * 112 / quarter > 6
        assert quarter >= 256 and scene.height >= 256, "pan & scan cuts no parts below 256 pixels"
