"""Members of the family: what each is, and the two stages of its training."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import gemwright
from gemwright.errors import UserError
from gemwright.recipes import curriculum, family
from gemwright.recipes.common import small_gemma3
from gemwright.train import state
from gemwright.train.run import Run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Two steps of a tiny member, over a tiny curriculum."""
    monkeypatch.setattr(curriculum, "prepare", partial(curriculum.prepare, count=60, vocab=1200))
    monkeypatch.setattr(curriculum, "_COPIES", 60)
    monkeypatch.setattr(family, "COPYING", 2)
    tiny = small_gemma3(
        "tiny", width=32, depth=6, heads=2, kv_heads=1, head_dim=16, hidden=48, vocab=1200, context=1280
    )
    made = family.run_of("tiny", tiny, tmp_path / "run", steps=2, rate=1e-3)
    short = replace(made.schedule, warmup=1)
    data = replace(made.data, sources=made.data.sources[:1], weights=(), held_out=0.2)
    step = replace(made.step, tokens=1280, micro=1280)
    return replace(made, data=data, step=step, schedule=short, compute="float32")


def test_a_member_learns_to_copy_and_goes_on_from_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family, "copying", lambda run, plain=family.copying: _short(plain(run)))
    stopped, folder = family.make(run, stop=lambda step: step == 1)
    assert folder is None and not stopped.finished and not state.latest(run.out / "checkpoints")[0]
    outcome, folder = family.make(run, resume=True)
    assert folder is not None and outcome.step == 2
    first = gemwright.load(run.out / "copying" / "model").model.state_dict()
    last = gemwright.load(folder).model.state_dict()
    moved = [(first[name].float() - last[name].float()).abs().max().item() for name in first]
    assert 0 < max(moved) < 0.1, "two steps away from where the first stage ended, not from fresh weights"
    with pytest.raises(UserError, match="holds a run already"):
        family.make(run)


def _short(run: Run) -> Run:
    return replace(run, step=replace(run.step, tokens=1280, micro=1280), schedule=replace(run.schedule, warmup=1))


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
