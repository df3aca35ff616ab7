"""What recipes write at their end: the folder of a model, and of one that sees its tower, too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gemwright.lm import load
from gemwright.loading import load_tower
from gemwright.recipes.common import train_and_export
from gemwright.recipes.tune import tuning
from gemwright.train.run import override


@pytest.mark.parametrize("tower", ["tuned", "frozen"])
def test_a_model_that_sees_is_written_with_its_tower_and_the_settings_of_pictures(
    tmp_path: Path, seeing: Path, shown: str, one_thread: None, tower: str
) -> None:
    sizes = ["data.row=256", "step.micro=256", "step.tokens=512", "steps=2", f"pictures.tower={tower}"]
    run = override(tuning(str(seeing), (shown,), tmp_path / "run"), sizes)
    outcome, folder = train_and_export(run, sampling={}, converses=True, resume=False, progress=None, stop=None)
    assert folder is not None and (outcome.tower is not None) == (tower == "tuned")
    wanted = outcome.tower or load_tower(seeing)
    assert load_tower(folder).digest() == wanted.bfloat16().digest()
    settings = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
    assert settings["size"] == {"height": 56, "width": 56} and settings["image_seq_length"] == 4
    assert load(folder, device="cpu").engine.eyes.soft == 4
