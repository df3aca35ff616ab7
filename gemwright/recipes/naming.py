"""How a fresh tower begins: it learns to name what lies in each of its patches, before a decoder looks through it.

A one-word answer says little of a picture, and a decoder that sees nothing yet teaches its tower slowly. But a drawn
picture is known patch by patch. So each soft token, through heads that are thrown away afterwards, names what covers
the patches that it was pooled from: shape, colour, letter, the value of a bar; and what has its middle there.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.errors import UserError
from gemwright.image.picture import picture as known
from gemwright.image.resize import pixels
from gemwright.nn.gemma import Tower
from gemwright.recipes import album
from gemwright.tasks.item import Item
from gemwright.tasks.pictures.alphabet import ADVANCE, LETTERS, extent, unit
from gemwright.tasks.pictures.compose import inks
from gemwright.tasks.pictures.draw import bars, draw, letters
from gemwright.tasks.pictures.scene import COLOURS, LEVELS, SHAPES, SIZES, Scene, Thing, Word
from gemwright.tasks.split import side_of
from gemwright.train.optim import Optim, build, divide_and_clip, moments, restore_moments, set_rate
from gemwright.train.schedule import Schedule, factor
from gemwright.train.state import Checkpoint, latest, write

# What a patch may hold, by head; 0 is nothing everywhere.
_SHAPES, _COLOURS, _LETTERS = (
    {name: place for place, name in enumerate(names, start=1)} for names in (SHAPES, COLOURS, LETTERS)
)
# Shape, colour, letter, value of a bar, and what has its middle there: a small or large thing, a bar's top, a letter.
HEADS = {
    "shape": len(SHAPES) + 1,
    "colour": len(COLOURS) + 1,
    "letter": len(LETTERS) + 1,
    "value": LEVELS + 1,
    "middle": len(SIZES) + 3,
}
_LARGE, _LARGEST = 0.1, 0.145  # the radius of a thing that is large, and of the largest, as a share of the longer side
_SHEETS = 0.6  # of the pictures; the others are those of the album's questions, fewer of them words: sheets are full
_MIX = album.MIX | {"word": 16, "word_at": 9}
_WARMUP = 50  # batches
_KEPT = 3200  # pictures between two checkpoints
# The weight of a patch that holds nothing, beside one that holds something: at first, and once all colours are there. A
# tower first learns to name at all, then to be silent, so that things can be counted.
_EMPTY, _EMPTY_LATER = 0.05, 0.3


@dataclass(frozen=True, kw_only=True)
class Naming:
    """`pictures` that are learnt from, `batch` at a time, at a highest `rate`; the first of them are `plain`, black on
    white, then one colour after the other joins, the last when as many again are seen. Shape is a matter of contrast,
    and there are forty-two pairs of colours: with all of them from the beginning a tower names colours and places soon,
    and no shape for long (docs/log.md)."""

    pictures: int
    plain: int
    batch: int
    rate: float


def labels(scene: Scene, grid: int) -> numpy.ndarray:
    """int64 `[grid · grid, heads]`: what each patch holds. Shape, colour, letter and value are those of what covers the
    middle of the patch (the colour else the background's); the kind of thing is named where the middle of one lies."""
    found = numpy.zeros((grid, grid, len(HEADS)), dtype=numpy.int64)
    found[:, :, 1] = _COLOURS[scene.background]
    across = (numpy.arange(grid) + 0.5)[None] * scene.width / grid
    down = (numpy.arange(grid) + 0.5)[:, None] * scene.height / grid

    def put(x: float, y: float, covered: numpy.ndarray, names: tuple[int, int, int, int], kind: int) -> None:
        row, column = (min(max(int(grid * part), 0), grid - 1) for part in (y / scene.height, x / scene.width))
        covered[row, column] = True
        found[covered, :4] = names
        found[row, column, 4] = kind

    for thing in scene.things:
        covered = numpy.hypot(across - thing.x, down - thing.y) < 0.9 * thing.radius
        names = _SHAPES[thing.shape], _COLOURS[thing.colour], 0, 0
        put(thing.x, thing.y, covered, names, 1 + SIZES.index(thing.size))
    for bar, (left, top, right, bottom) in zip(scene.bars, bars(scene), strict=True):
        covered = (across > left) & (across < right) & (down > top) & (down < bottom)
        put((left + right) / 2, top, covered, (0, _COLOURS[bar.colour], 0, bar.value), len(SIZES) + 1)
    for word in scene.words:
        half = unit(word.height) * ADVANCE / 2
        for letter, x, y in letters(word):
            covered = (abs(across - x) < half) & (abs(down - y) < word.height / 2)
            put(x, y, covered, (0, _COLOURS[word.colour], _LETTERS[letter], 0), len(SIZES) + 2)
    return found.reshape(-1, len(HEADS))


class Namer(nn.Module):
    """The heads: soft tokens → what each of their patches holds."""

    def __init__(self, spec: Vision, width: int) -> None:
        super().__init__()
        self.square = spec.tower.grid // spec.side  # patches along a side of what a soft token was pooled from
        self.side = spec.side
        self.heads = nn.Linear(width, self.square**2 * sum(HEADS.values()))

    def forward(self, soft: Tensor) -> Tensor:
        """`[B, T, D]` → `[B, P, S]`, patches row by row."""
        cut = self.heads(soft).unflatten(2, (self.square, self.square, -1)).unflatten(1, (self.side, self.side))
        return cut.permute(0, 1, 3, 2, 4, 5).flatten(1, 4)  # [B, rows, columns, …, …, S] → [B, P, S]


def loss(scores: Tensor, wanted: Tensor, empty: float = _EMPTY) -> Tensor:
    """The mean over heads of their cross-entropy; patches that hold nothing have the weight `empty`."""
    total = scores.new_zeros(())
    for one, target, held in _by_head(scores, wanted):
        weight = torch.where(held, 1.0, empty).flatten()
        each = F.cross_entropy(one.float().flatten(0, 1), target.flatten(), reduction="none")
        total = total + (each * weight).sum() / weight.sum()
    return total / len(HEADS)


def right(scores: Tensor, wanted: Tensor) -> dict[str, float]:
    """For each head, of the patches that hold something, the share whose likeliest name is the right one; a head for
    which there is none is left out."""
    found = zip(HEADS, _by_head(scores, wanted), strict=True)
    return {
        name: (one.argmax(-1) == target)[held].double().mean().item()
        for name, (one, target, held) in found
        if held.any()
    }


def _by_head(scores: Tensor, wanted: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each head its scores, what is right, and where something is."""
    heads = list(HEADS)
    something = (wanted[..., [heads.index(name) for name in ("shape", "letter", "value")]] > 0).any(-1)
    for place, (name, one) in enumerate(zip(HEADS, scores.split(list(HEADS.values()), dim=-1), strict=True)):
        target = wanted[..., place]
        yield one, target, something if name == "colour" else target > 0


def learn(
    tower: Tower, how: Naming, seed: int, told: Callable[[int, float, dict[str, float]], None], kept: Path
) -> None:
    """Trains a tower in place; `told(pictures, loss, shares)` after every batch, with the shares of `right`. The folder
    `kept` has at every `_KEPT` pictures, and at the end, all that it takes to go on. Raises `UserError` where it cannot
    be written, or is that of another tower."""
    namer = Namer(tower.spec, tower.projector.weight.shape[1])
    with torch.no_grad():
        namer.heads.weight.normal_(0.0, 0.02, generator=torch.Generator().manual_seed(seed))
        namer.heads.bias.zero_()
    both = nn.ModuleDict({"tower": tower, "namer": namer}).train()
    optim = Optim(kind="muon", rate=how.rate, beta1=0.9, beta2=0.95, epsilon=1e-8, decay=0.05, clip=1.0)
    optimizer = build(both, optim)
    steps, part = how.pictures // how.batch, max(_KEPT // how.batch, 1)
    schedule = Schedule(kind="wsd", warmup=min(_WARMUP, steps // 10), floor=0.02, decay=0.4)
    done = _restore(both, optimizer, kept)
    while done < steps:
        for seen, wanted in itertools.islice(batches(seed, how, tower.spec.tower, done), min(part, steps - done)):
            set_rate(optimizer, how.rate * factor(schedule, done, steps))
            optimizer.zero_grad(set_to_none=True)
            scores = namer(tower.encode(seen))
            early = joined(done * how.batch, how) < len(COLOURS)
            found = loss(scores, wanted, _EMPTY if early else _EMPTY_LATER)
            found.backward()
            divide_and_clip(both.parameters(), 1.0, optim.clip)
            optimizer.step()
            done += 1
            told(done * how.batch, float(found.detach()), right(scores.detach(), wanted))
        tensors = {"both": dict(both.state_dict()), "moments": dict(moments(both, optimizer))}
        write(kept, Checkpoint(step=done, tensors=tensors, facts={}), keep=1)


def _restore(both: nn.Module, optimizer: Optimizer, kept: Path) -> int:
    """The batches that are learnt from already."""
    checkpoint, _ = latest(kept)
    if checkpoint is None:
        return 0
    try:
        both.load_state_dict(dict(checkpoint.tensors["both"]))
    except RuntimeError as error:
        raise UserError(f"{kept} holds another tower", hint="remove it, or choose another folder") from error
    restore_moments(both, optimizer, dict(checkpoint.tensors["moments"]))
    return checkpoint.step


def sheet(generator: random.Random, colours: int) -> Scene:
    """A picture as full as can be, for practice: things, single letters and pairs of them in rows and columns, in the
    first so many `colours` (1: black on white). An empty picture costs as much as a full one, and teaches less."""
    longer, aspect = generator.randint(110, 180), math.exp(generator.uniform(math.log(0.4), math.log(3)))
    width, height = (longer, round(longer / aspect)) if aspect >= 1 else (round(longer * aspect), longer)
    names = list(COLOURS)[:colours]
    background, *others = generator.sample(names, len(names)) if colours > 1 else ("white", "black")
    readable = [ink for ink in inks(background) if ink in others]
    columns, rows = (max(1, round(side / longer * generator.uniform(2, 5))) for side in (width, height))
    room, floor = width / columns, height / rows
    things: list[Thing] = []
    words: list[Word] = []
    for cell in range(columns * rows):
        left, top = cell % columns * room, cell // columns * floor
        kind = generator.random()
        if kind < 0.5:
            radius = min(generator.uniform(0.32, 0.48) * min(room, floor), _LARGEST * longer)
            x, y = left + generator.uniform(radius, room - radius), top + generator.uniform(radius, floor - radius)
            shape, colour = generator.choice(SHAPES), generator.choice(others)
            size = SIZES[radius > _LARGE * longer]
            things.append(Thing(shape=shape, colour=colour, size=size, x=round(x), y=round(y), radius=round(radius)))
        elif kind < 0.95:
            text = "".join(generator.choices(list(LETTERS), k=generator.choice((1, 2))))
            tall = min(generator.uniform(0.6, 0.95) * room / extent(text, 1), generator.uniform(0.6, 0.95) * floor)
            x, y = left + generator.uniform(0, room - extent(text, tall)), top + generator.uniform(0, floor - tall)
            colour = generator.choice(readable)
            words.append(Word(text=text, colour=colour, x=round(x), y=round(y), height=round(tall, 1)))
    return Scene(width=width, height=height, background=background, things=tuple(things), words=tuple(words))


def batches(seed: int, how: Naming, spec: Encoder, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels `[batch, 3, side, side]` and what lies where, without end: plain practice sheets at first, then coloured
    ones, and among them pictures as tests show them, of the training side. Other ones after so many batches `done`."""
    items, generator = album.drawn(seed + done, _MIX), random.Random(f"naming {seed} {done}")
    for first in itertools.count(done * how.batch, how.batch):
        scenes = [_scene(generator, items, joined(first, how)) for _ in range(how.batch)]
        seen = [pixels(known(numpy.asarray(draw(one)), "picture"), spec.image) for one in scenes]
        wanted = [labels(one, spec.grid) for one in scenes]
        yield torch.from_numpy(numpy.stack(seen)), torch.from_numpy(numpy.stack(wanted))


def joined(seen: int, how: Naming) -> int:
    """How many colours there are after so many pictures."""
    if seen < how.plain:
        return 1
    return min(2 + (len(COLOURS) - 2) * (seen - how.plain) // max(how.plain, 1), len(COLOURS))


def _scene(generator: random.Random, items: Iterator[Item], colours: int) -> Scene:
    if colours == len(COLOURS) and generator.random() >= _SHEETS:
        return Scene.from_json(next(items).check["scene"])
    while side_of(f"picture {(drawn := sheet(generator, colours)).content()}") == "test":
        pass
    return drawn
