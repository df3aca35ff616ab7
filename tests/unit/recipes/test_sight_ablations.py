"""Ablations of sight: what is asked, and what is plotted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gemwright
from gemwright.recipes import sight, sight_ablations
from gemwright.recipes.album import CUTS
from gemwright.recipes.sight_ablations import ASKED, main, questions, scores
from gemwright.tasks.split import side_of


@pytest.mark.parametrize("group", ASKED)
def test_questions_of_a_group_have_its_shape_and_are_unseen(group: str) -> None:
    tasks, least, most = ASKED[group]
    found = questions(group, 6)
    assert {item.task for item in found} == set(tasks) and len(found) == 6
    for item in found:
        assert item.scene is not None and side_of(item.key) == "test"
        sides = item.scene["width"], item.scene["height"]
        assert least <= max(sides) / min(sides) < most


def test_a_model_that_sees_is_asked_with_and_without_crops(seeing: Path) -> None:
    lm = gemwright.load(seeing)
    found = questions("words, wide", 2)
    assert all(0 <= scores(lm, found, rule) <= 1 for rule in (None, CUTS))


def test_every_run_has_the_size_that_it_is_named_for(tmp_path: Path) -> None:
    run = sight_ablations.planned(48, tmp_path / "runs", tmp_path / "curriculum", 30, ["seed=7"])
    assert run.model.vision == sight.eyes(48) and run.steps == 30 and run.seed == 7
    assert run.out == tmp_path / "runs" / "side-48" and run.tokenizer == tmp_path / "curriculum" / "tokenizer"


def test_the_lesson_of_cut_pictures_goes_on_from_the_run_and_keeps_its_model_apart(tmp_path: Path) -> None:
    run = sight_ablations.planned(48, tmp_path / "runs", tmp_path / "curriculum", 30, ["seed=7"])
    after = sight_ablations.lesson(run, run.out / "model")
    assert after.start == str(run.out / "model") and after.out == run.out / "cutting"
    assert after.model == run.model and after.pictures == run.pictures and after.seed == 7
    assert after.data.sources == (str(after.out / "album.jsonl"), str(run.out / "texts.jsonl"))
    (after.out / "model").mkdir(parents=True)  # made before: it is not made again
    assert sight_ablations.cut(run, run.out / "model") == after.out / "model"


def test_what_was_measured_is_not_measured_again_and_is_plotted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    for side in (48, 96):
        folder = tmp_path / "runs" / f"side-{side}"
        folder.mkdir(parents=True)
        measured = {group: {"whole": 0.4, "cut": 0.5, "items": 6} for group in ASKED}
        (folder / "measured.json").write_text(json.dumps(measured), encoding="utf-8")
    out = tmp_path / "runs"
    assert main(["--out", str(out), "--reader", "none", "--side", "48", "--side", "96"]) == 0
    assert json.loads(capsys.readouterr().out)["96"]["small print"]["cut"] == 0.5
    assert (out / "ablations.png").stat().st_size > 5000


def test_a_missing_reader_is_said_in_two_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "runs"), "--reader", str(tmp_path / "none"), "--pictures", "4"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and told[0].startswith("error:") and told[1].startswith("hint:")
