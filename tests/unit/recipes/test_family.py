"""Members of the family: what each is, and the two stages of its training."""

from __future__ import annotations

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
    """Two steps of a tiny member, over a tiny curriculum."""
    monkeypatch.setattr(curriculum, "prepare", partial(curriculum.prepare, count=60, vocab=1200))
    stages = [curriculum.Copying(window=window, shortest=5, longest=9, steps=2, rate=1e-3) for window in (4, 128)]
    monkeypatch.setattr(curriculum, "COPYING", tuple(stages))
    monkeypatch.setattr(curriculum, "COPYING_TOKENS", curriculum.ROW)
    monkeypatch.setattr(family, "COPYING_TOKENS", curriculum.ROW)
    tiny = small_gemma3(
        "tiny", width=32, depth=6, heads=2, kv_heads=1, head_dim=16, hidden=48, vocab=1200, context=1280
    )
    made = family.run_of("tiny", tiny, tmp_path / "run", steps=2, rate=1e-3)
    short = replace(made.schedule, warmup=1)
    data = replace(made.data, sources=made.data.sources[:1], weights=(), held_out=0.2)
    step = replace(made.step, tokens=1280, micro=1280)
    return replace(made, data=data, step=step, schedule=short, compute="float32")


def test_a_member_learns_to_copy_and_goes_on_from_there(run: Run) -> None:
    stopped, folder = family.make(run, stop=lambda step: step == 1)
    assert folder is None and not stopped.finished and not state.latest(run.out / "checkpoints")[0]
    outcome, folder = family.make(run, resume=True)
    assert folder is not None and outcome.step == 2
    weights = [
        load_file(each / "model.safetensors")
        for each in (run.out / "copying" / "0" / "model", run.out / "copying" / "1" / "model", folder)
    ]
    for before, after in pairwise(weights):
        moved = [(before[name].float() - after[name].float()).abs().max().item() for name in before]
        assert 0 < max(moved) < 0.1, "two steps away from where the stage before ended, not from fresh weights"
    with pytest.raises(UserError, match="holds a run already"):
        family.make(run)


def test_stages_of_copying_widen_the_windows_of_local_layers_alone(run: Run) -> None:
    first, second = family.copying(run)
    windows = [[getattr(layer.mixer, "window", 0) for layer in stage.model.layers] for stage in (first, second)]
    assert windows == [[4, 4, 4, 4, 4, None], [128, 128, 128, 128, 128, None]]
    assert first.start is None and second.start == str(first.out / "model") and second.model == run.model
    assert run.start == str(second.out / "model")


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
