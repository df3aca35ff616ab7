"""A model that reads learns to see."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.errors import UserError
from gemwright.loading import load_model, load_tower
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.recipes import album, family, sight
from gemwright.recipes.naming import Naming
from gemwright.tasks.item import Item
from gemwright.tasks.split import items
from gemwright.text.tokenizer import Tokenizer
from gemwright.train.export import export
from gemwright.train.run import Run, check

EYES = Vision(tower=Encoder(image=32, patch=8, width=16, hidden=24, heads=2, depth=1, norm_epsilon=1e-6), tokens=4)
HOW = Naming(pictures=16, plain=8, batch=8, rate=1e-3)


@pytest.fixture
def run(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Two steps of a tiny member, with the model that reads and its texts where the recipe looks for them."""
    monkeypatch.setattr(album, "TESTED", 4)
    shared = tmp_path / "curriculum"
    shutil.copytree(tokenizer.source.parent, shared / "tokenizer")
    with (shared / "train.jsonl").open("w", encoding="utf-8") as file:
        for number in range(40):
            turns = [("user", f"Say {number}."), ("assistant", str(number))]
            messages = [{"role": role, "content": text} for role, text in turns]
            file.write(f"{json.dumps({'messages': messages})}\n")
    sizes = {"width": 16, "depth": 2, "heads": 2, "head_dim": 8, "hidden": 24, "vocab": 320, "context": 512}
    spec = preset("gemma-3-1b", **sizes, window=8, pattern=2)
    model = Decoder(spec)
    initialise(model, torch.Generator().manual_seed(1))
    student = tmp_path / "pocket" / "model"
    export(model, shared / "tokenizer", student, dtype=torch.float32, sampling={}, documents={})
    made = sight.sight(tmp_path / "sight")
    return replace(
        made,
        model=replace(spec, vision=EYES),
        data=replace(made.data, row=512, held_out=0.1),
        step=replace(made.step, tokens=1024, micro=512),
        schedule=replace(made.schedule, warmup=1),
        steps=2,
        compute="float32",
    )


def test_a_model_that_reads_comes_out_with_a_tower_that_learnt_in_every_lesson(run: Run, one_thread: None) -> None:
    stopped, folder = sight.make(run, pictures=40, early=(2, 2), how=HOW, stop=lambda step: step == 1)
    assert folder is None and not stopped.finished
    outcome, folder = sight.make(run, resume=True, pictures=40, early=(2, 2), how=HOW)
    assert folder == run.out / "model" and outcome.step == 2
    assert outcome.held_out is not None
    reader = run.out.parent / "pocket" / "model"
    stages = (run.out / "eyes", run.out / "describing" / "model", run.out / "looking" / "model", folder)
    decoders = [load_model(each, dtype=torch.float32).model.state_dict() for each in stages]
    assert all(torch.equal(one, decoders[0][name]) for name, one in load_model(reader).model.state_dict().items())
    towers = [load_tower(each, dtype=torch.float32).state_dict() for each in stages]
    for states in (decoders, towers):
        for before, after in itertools.pairwise(states):
            assert any(not torch.equal(one.bfloat16(), after[name].bfloat16()) for name, one in before.items())
    assert run.start == str(stages[2])
    told = (run.out / "naming.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(one)["pictures"] for one in told] == [8, 16]


def test_naming_needs_no_model_that_reads_and_is_done_once(run: Run, one_thread: None) -> None:
    shutil.rmtree(run.out.parent / "pocket")
    first = sight.named(run, HOW)
    second = sight.named(run, HOW)
    assert all(torch.equal(one, second.get_parameter(name)) for name, one in first.named_parameters())
    told = (run.out / "naming.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(one)["pictures"] for one in told] == [8, 16]


def test_texts_and_pictures_are_both_read(run: Run, one_thread: None) -> None:
    sight.make(run, pictures=40, early=(2, 2), how=HOW)
    reports = json.loads((run.out / "tokens" / "report.json").read_text(encoding="utf-8"))
    assert {"train-0", "train-1"} <= set(reports)
    assert (run.out / "tokens" / "train-0" / "pictures.npy").exists()
    assert not (run.out / "tokens" / "train-1" / "pictures.npy").exists()


def test_among_the_texts_are_more_of_what_is_done_badly(run: Run, one_thread: None) -> None:
    sight.make(run, pictures=40, early=(2, 2), how=HOW)
    lines = (run.out / "texts.jsonl").read_text(encoding="utf-8").splitlines()
    weak = [one for one in map(json.loads, lines) if "skill" in one]
    assert len(lines) - len(weak) == 40 and 10 <= len(weak) <= 50
    drawn = [Item.from_json(one) for one in weak]
    assert {f"{one.skill}/{one.task}" for one in drawn} <= set(sight.WEAK)
    assert not any(
        item.prompt() in {one.prompt() for one in drawn} for item in items("instructions", "test", count=200)
    )


def test_without_the_curriculum_it_says_what_to_make_first(run: Run) -> None:
    (run.tokenizer.parent / "train.jsonl").unlink()
    with pytest.raises(UserError, match="texts") as caught:
        sight.make(run, pictures=4, early=(2, 2), how=HOW)
    assert "gemwright train pocket" in (caught.value.hint or "")


def test_the_run_is_one_and_its_tower_is_small(tmp_path: Path) -> None:
    made = check(sight.sight(tmp_path / "sight"))
    assert made.model == replace(family.pocket(), vision=sight.eyes())
    vision = made.model.vision
    assert vision is not None
    with torch.device("meta"):
        tower = sight.Tower(vision, made.model.width)
    assert sum(parameter.numel() for parameter in tower.parameters()) < 1_500_000


@pytest.mark.parametrize("side", [48, 96, 144])
def test_a_soft_token_is_four_patches_at_every_size(side: int) -> None:
    vision = sight.eyes(side)
    assert vision.tokens * 4 == vision.tower.grid**2 and vision.tower.grid * vision.tower.patch == side
