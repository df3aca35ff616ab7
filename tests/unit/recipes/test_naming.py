"""A tower that learns to name what lies in its patches."""

from __future__ import annotations

import itertools
import random
import statistics
from pathlib import Path

import pytest
import torch

from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.errors import UserError
from gemwright.nn.gemma import Tower, pool
from gemwright.nn.init import initialise_tower
from gemwright.recipes import naming
from gemwright.recipes.naming import HEADS, Namer, Naming, learn
from gemwright.tasks.pictures.alphabet import LETTERS, extent
from gemwright.tasks.pictures.scene import COLOURS, SHAPES, Bar, Scene, Thing, Word
from gemwright.tasks.split import side_of

EYES = Vision(tower=Encoder(image=32, patch=4, width=32, hidden=48, heads=2, depth=1, norm_epsilon=1e-6), tokens=16)


def _names(scene: Scene, grid: int) -> torch.Tensor:
    """`[rows, columns, heads]`."""
    return torch.from_numpy(naming.labels(scene, grid)).reshape(grid, grid, -1)


def test_a_thing_is_named_where_it_is_and_the_background_elsewhere() -> None:
    heart = Thing(shape="heart", colour="red", size="large", x=90, y=30, radius=25)
    found = _names(Scene(width=160, height=80, background="white", things=(heart,)), 8)
    names = [SHAPES.index("heart") + 1, list(COLOURS).index("red") + 1, 0, 0]
    assert found[3, 4].tolist() == [*names, 2]  # 30 of 80 and 90 of 160, in eighths: its middle
    assert found[2, 5].tolist() == found[3, 3].tolist() == [*names, 0]
    away = [0, list(COLOURS).index("white") + 1, 0, 0, 0]
    assert found[3, 7].tolist() == found[0, 0].tolist() == found[7, 4].tolist() == away
    assert int((found[..., 4] > 0).sum()) == 1


def test_a_thing_smaller_than_a_patch_is_named_once() -> None:
    star = Thing(shape="star", colour="blue", size="small", x=21, y=21, radius=3)
    found = _names(Scene(width=80, height=80, background="white", things=(star,)), 4)
    assert [place.tolist() for place in found[..., 0].nonzero()] == [[1, 1]]


def test_letters_follow_one_another_along_a_row() -> None:
    word = Word(text="CAB", colour="black", x=10, y=30, height=40)
    found = _names(Scene(width=128, height=80, background="white", words=(word,)), 16)
    middles = [list(LETTERS)[int(one[2]) - 1] for one in found.flatten(0, 1) if one[4]]
    assert middles == ["C", "A", "B"]
    row = [int(one) for one in found[10, :, 2] if one]
    assert row == sorted(row, key=[list(LETTERS).index(letter) + 1 for letter in "CAB"].index) and len(row) > 6


def test_bars_are_named_all_the_way_and_end_at_their_top() -> None:
    bars = (Bar(colour="red", value=2), Bar(colour="blue", value=9))
    found = _names(Scene(width=100, height=100, background="white", bars=bars), 10)
    low, high = ((found[..., 3] == value).nonzero() for value in (2, 9))
    assert len(high) > 3 * len(low) and low[:, 1].max() < high[:, 1].min()
    tops = [int((found[..., 4] * (found[..., 3] == value)).nonzero()[0, 0]) for value in (2, 9)]
    assert tops[0] == int(low[:, 0].min()) > tops[1] == int(high[:, 0].min())


def test_sheets_are_full_of_things_and_letters_that_stay_inside_and_apart() -> None:
    held = []
    for number in range(60):
        scene = naming.sheet(random.Random(number), 7)
        boxes = [(t.x - t.radius, t.y - t.radius, t.x + t.radius, t.y + t.radius) for t in scene.things]
        boxes += [(w.x, w.y, w.x + extent(w.text, w.height), w.y + w.height) for w in scene.words]
        assert all(left >= -1 and top >= -1 for left, top, _, _ in boxes)
        assert all(right <= scene.width + 1 and bottom <= scene.height + 1 for _, _, right, bottom in boxes)
        for one, other in itertools.combinations(boxes, 2):
            beside = one[2] < other[0] + 2 or other[2] < one[0] + 2
            assert beside or one[3] < other[1] + 2 or other[3] < one[1] + 2
        held.append(len(boxes))
    assert statistics.mean(held) > 6


def test_no_picture_of_the_test_side_is_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Scene] = []
    draw = naming.draw
    monkeypatch.setattr(naming, "draw", lambda scene: (seen.append(scene), draw(scene))[1])
    monkeypatch.setattr(naming, "side_of", lambda key: side_of(key, 0.5))
    monkeypatch.setattr(naming, "_SHEETS", 1.0)
    next(naming.batches(1, Naming(pictures=30, plain=0, batch=30, rate=1e-3), EYES.tower))
    assert len(seen) == 30 and {side_of(f"picture {scene.content()}", 0.5) for scene in seen} == {"train"}


def test_plain_pictures_come_first() -> None:
    how = Naming(pictures=40, plain=20, batch=20, rate=1e-3)
    seen, names = next(naming.batches(1, how, EYES.tower))
    assert seen.std(dim=1).max() < 0.01, "shades of grey alone"
    assert set(names[..., 1].unique().tolist()) == {list(COLOURS).index(name) + 1 for name in ("white", "black")}


def test_one_colour_after_the_other_joins() -> None:
    how = Naming(pictures=400, plain=100, batch=20, rate=1e-3)
    counts = [naming.joined(seen, how) for seen in range(0, 400, 20)]
    assert counts[:5] == [1] * 5 and counts[5:11] == [2, 3, 4, 5, 6, 7] and set(counts[11:]) == {len(COLOURS)}
    for count in range(1, 8):
        scenes = [naming.sheet(random.Random(number), count) for number in range(40)]
        used = {one.colour for scene in scenes for one in (*scene.things, *scene.words)}
        assert used | {scene.background for scene in scenes} == set(list(COLOURS)[: max(count, 2)])


def test_a_patch_is_named_by_the_soft_token_that_it_is_pooled_into() -> None:
    namer = Namer(EYES, 8)
    soft = torch.randn(1, 16, 8, requires_grad=True)
    grid = torch.arange(64.0).reshape(1, 64, 1)
    for patch in (0, 9, 27, 63):
        (gradient,) = torch.autograd.grad(namer(soft)[0, patch].sum(), soft)
        (token,) = gradient.abs().sum(-1)[0].nonzero()[0].tolist()
        alone = pool((grid == patch).float(), EYES.side)[0, :, 0].nonzero()
        assert token == alone.item()


def test_what_holds_nothing_weighs_little_but_is_learnt() -> None:
    wanted = torch.zeros(1, 64, len(HEADS), dtype=torch.long)
    wanted[:, :, 1] = 1
    wanted[0, 5] = torch.tensor([3, 2, 0, 0, 1])
    counts = enumerate(HEADS.values())
    right = torch.cat([torch.nn.functional.one_hot(wanted[..., head], count) * 20.0 for head, count in counts], dim=-1)
    missed, seen = right.clone(), right.clone()
    missed[0, 5, : HEADS["shape"]] = right[0, 6, : HEADS["shape"]]  # a thing that is not named
    seen[0, 6, : HEADS["shape"]] = right[0, 5, : HEADS["shape"]]  # nothing that is named
    perfect, without, beside = (float(naming.loss(one, wanted)) for one in (right, missed, seen))
    assert naming.right(right, wanted) == {"shape": 1.0, "colour": 1.0, "middle": 1.0}
    assert naming.right(missed, wanted)["shape"] == 0.0 and naming.right(seen, wanted)["shape"] == 1.0
    assert perfect < 1e-6 < beside < without / 10


def _tower() -> Tower:
    tower = Tower(EYES, 16)
    initialise_tower(tower, torch.Generator().manual_seed(1))
    return tower


def test_a_tower_learns_and_its_projector_too(one_thread: None, tmp_path: Path) -> None:
    tower = _tower()
    before = {name: one.clone() for name, one in tower.named_parameters()}
    told: list[tuple[int, float]] = []
    how = Naming(pictures=320, plain=320, batch=16, rate=1e-2)
    learn(tower, how, 2, lambda seen, loss, _: told.append((seen, loss)), tmp_path)
    assert [seen for seen, _ in told] == list(range(16, 321, 16))
    assert sum(loss for _, loss in told[-4:]) < 0.93 * sum(loss for _, loss in told[:4])
    assert all(not torch.equal(one, before[name]) for name, one in tower.named_parameters())


def test_what_was_interrupted_goes_on_bit_for_bit(
    one_thread: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "_KEPT", 16)
    how, whole, cut = Naming(pictures=48, plain=16, batch=8, rate=3e-3), _tower(), _tower()
    learn(whole, how, 2, lambda *_: None, tmp_path / "whole")

    def interrupts(seen: int, *_: object) -> None:
        if seen == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(cut, how, 2, interrupts, tmp_path / "cut")
    again: list[int] = []
    other = _tower()
    learn(other, how, 2, lambda seen, *_: again.append(seen), tmp_path / "cut")
    assert again == [40, 48]
    assert all(torch.equal(one, other.get_parameter(name)) for name, one in whole.named_parameters())


def test_what_is_finished_is_not_learnt_again(one_thread: None, tmp_path: Path) -> None:
    how, first, second = Naming(pictures=8, plain=8, batch=8, rate=3e-3), _tower(), _tower()
    told: list[int] = []
    for tower in (first, second):
        learn(tower, how, 2, lambda seen, *_: told.append(seen), tmp_path)
    assert told == [8]
    assert all(torch.equal(one, second.get_parameter(name)) for name, one in first.named_parameters())


def test_another_tower_is_not_gone_on_with(one_thread: None, tmp_path: Path) -> None:
    how = Naming(pictures=8, plain=8, batch=8, rate=3e-3)
    learn(_tower(), how, 2, lambda *_: None, tmp_path)
    with pytest.raises(UserError, match="another tower"):
        learn(Tower(EYES, 24), how, 2, lambda *_: None, tmp_path)
