"""Members of the family: what each is, and the lessons that it has."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from safetensors.torch import load_file

from gemwright.errors import UserError
from gemwright.recipes import curriculum, family
from gemwright.recipes.common import small_gemma3
from gemwright.train import state
from gemwright.train.run import Run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Two steps of a tiny member in each lesson, over a tiny curriculum."""
    monkeypatch.setattr(curriculum, "prepare", partial(curriculum.prepare, scale=0.0004, vocab=1200))
    lessons = [
        replace(lesson, python=0.0, steps=lesson.steps and 2, tokens=curriculum.ROW) for lesson in curriculum.LESSONS
    ]
    monkeypatch.setattr(curriculum, "LESSONS", tuple(lessons))
    tiny = small_gemma3(
        "tiny", width=32, depth=6, heads=2, kv_heads=1, head_dim=16, hidden=48, vocab=1200, context=1280
    )
    made = family.run_of("tiny", tiny, tmp_path / "run", steps=2, rate=1e-3)
    return replace(
        made, data=replace(made.data, held_out=0.2), schedule=replace(made.schedule, warmup=1), compute="float32"
    )


def test_a_member_has_its_lessons_and_goes_on_from_each(run: Run) -> None:
    stopped, folder = family.make(run, stop=lambda step: step == 1)
    assert folder is None and not stopped.finished and not state.latest(run.out / "checkpoints")[0]
    outcome, folder = family.make(run, resume=True)
    assert folder is not None and outcome.step == 2
    lessons = [run.out / "lessons" / name / "model" for name in ("first", "short")]
    weights = [load_file(each / "model.safetensors") for each in (*lessons, folder)]
    for before, after in pairwise(weights):
        moved = [(before[name].float() - after[name].float()).abs().max().item() for name in before]
        assert 0 < max(moved) < 0.1, "two steps away from where the lesson before ended, not from fresh weights"
    facts = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    assert facts["curriculum"]["scale"] == 0.0004 and facts["text"] == ["train.jsonl"]
    with pytest.raises(UserError, match="holds a run already"):
        family.make(run)


def test_each_lesson_starts_where_the_one_before_it_ends(run: Run) -> None:
    first, short = family.earlier(run)
    assert first.start is None and short.start == str(first.out / "model") and run.start == str(short.out / "model")
    assert first.model == short.model == run.model
    assert [Path(each.data.sources[0]).name for each in (first, short, run)] == [
        "first.jsonl",
        "short.jsonl",
        "train.jsonl",
    ]


@pytest.mark.parametrize(
    "member, least, most",
    [
        (family.teacher, 20e6, 30e6),
        (family.pocket, 5e6, 10e6),
        (family.pocket_gemma2, 5e6, 10e6),
        (family.pocket_recurrent, 5e6, 10e6),
        (family.sibling, 1e6, 2.5e6),
    ],
)
def test_members_have_their_sizes(member, least: float, most: float) -> None:
    from gemwright.nn.decoder import Decoder

    count = sum(parameter.numel() for parameter in Decoder(member()).parameters())
    assert least <= count <= most
