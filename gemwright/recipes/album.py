"""The pictures that the pocket model learns to see from: a file of conversations, each about one picture.

A record is chat data, with the picture in the size that the tower takes, and holds the scene, so that who reads it
knows what lies where. A conversation asks what a test would ask, of the training side of the split, and then for more
that the picture shows: an answer of one word says too little of a picture to learn from it alone. But it stays so short
that local layers see the picture to its end: what lies beyond their window is left to two layers of twelve, and that
they learn to look there spoils what all layers do who see it (docs/log.md).
"""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
from PIL import Image

from gemwright.data.jsonl import line, whole
from gemwright.errors import UserError
from gemwright.image.data_url import data_url, read_data_url
from gemwright.image.pan_scan import PAN_SCAN, views
from gemwright.image.picture import Picture
from gemwright.image.picture import picture as known
from gemwright.image.resize import square
from gemwright.tasks.item import Item, chat_data
from gemwright.tasks.pictures import describe
from gemwright.tasks.pictures.draw import picture
from gemwright.tasks.pictures.more import more, stepped
from gemwright.tasks.pictures.scene import Scene
from gemwright.tasks.split import Audit, items
from gemwright.text.pieces import START_OF_IMAGE
from gemwright.text.turns import Message

# How often each task is drawn. What is written takes longest to learn.
MIX = {
    "colour": 8,
    "shape": 8,
    "background": 2,
    "count": 8,
    "count_many": 2,
    "count_colour": 5,
    "count_all": 4,
    "place": 8,
    "relation": 8,
    "larger": 5,
    "exists": 6,
    "chart_extreme": 4,
    "chart_value": 5,
    "word": 40,
    "word_at": 20,
    "fine_print": 3,
}
# Drawn pictures are some hundred pixels wide, and the crops of the reports' rule begin at 256.
CUTS = replace(PAN_SCAN, min_crop=64)
TESTED = 2000  # questions of the test side that the file is compared with
_MORE = 2  # further questions about a picture: each costs less than another picture
_TOLD = 0.3  # of the pictures with things are described in full instead; those with words and charts always are
_CUT = 0.05  # of the pictures, if they are wide or tall, are shown with crops; small print always is


def drawn(seed: int, mix: Mapping[str, int] = MIX) -> Iterator[Item]:
    """Questions about pictures of the training side, without end."""
    streams = {task: items(f"pictures/{task}", "train", seed=seed) for task in mix}
    choose = random.Random(f"album {seed}")
    while True:
        yield next(streams[choose.choices(list(mix), list(mix.values()))[0]])


def conversation(item: Item, side: int, generator: random.Random, share: float = _CUT) -> dict[str, Any]:
    """The record of a question, and, where its answer has no steps, of others about the same picture or of a full
    description. Pictures have `side` times `side` pixels; that `share` of them, and all fine print, is shown as pan and
    scan shows them."""
    scene = item.scene
    assert scene is not None
    cut = item.task == "fine_print" or generator.random() < share
    shown = views(known(numpy.asarray(picture(item)), "picture"), CUTS if cut else None)
    asked = item.messages[-1].text
    held = Scene.from_json(scene)
    if stepped(item.ideal):
        rest = []  # the steps say most of what could be asked
    elif not held.things or generator.random() < _TOLD:
        rest = [(describe.asked(generator), describe.described(held))]
    else:
        rest = more(generator, held, _MORE)
    turns = [(f"{_crops(len(shown))}{asked}", item.ideal), *rest]
    return record(turns, [square(one, side) for one in shown], scene)


def record(turns: Sequence[tuple[str, str]], shown: Sequence[Picture], scene: Mapping[str, Any]) -> dict[str, Any]:
    """Chat data of questions and answers, the first about the pictures `shown`, with their scene."""
    said = (Message(role, text) for turn in turns for role, text in zip(("user", "model"), turn, strict=True))
    messages: list[Any] = chat_data(said)
    messages[0]["images"] = [_url(one) for one in shown]
    return {"messages": messages, "scene": dict(scene)}


def _crops(views: int) -> str:
    if views == 1:
        return ""
    marks = " ".join([START_OF_IMAGE] * (views - 1))
    return f"Here is the original image {START_OF_IMAGE} and here are some crops to help you see better {marks}"


def _url(small: Picture) -> str:
    file = io.BytesIO()
    Image.fromarray(small.pixels).save(file, "PNG", compress_level=1)
    return data_url(file.getvalue())


def prepare(path: Path, *, seed: int, count: int, side: int) -> Path:
    """The file of `count` conversations, drawn if it is not there. Raises `UserError` where it cannot be written."""
    audit = Audit()

    def records() -> Iterator[dict[str, Any]]:
        for number, item in enumerate(drawn(seed)):
            audit.add("train", item)
            yield conversation(item, side, random.Random(f"album {seed} {number}"))

    if not path.exists():
        write(path, itertools.islice(records(), count))
        for item in items("pictures", "test", count=TESTED):
            audit.add("test", item)
        assert not any(audit.overlaps.values()), "a picture of the test side was drawn"
    return path


def write(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """A file of chat data, whole or not at all. Raises `UserError` where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole([path]) as (file,):
            for record in records:
                file.write(line(record))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", hint="choose another folder") from error


def opened(url: str) -> numpy.ndarray:
    """uint8 `[side, side, 3]`: the picture of a record."""
    return numpy.asarray(Image.open(io.BytesIO(read_data_url(url))).convert("RGB"))
