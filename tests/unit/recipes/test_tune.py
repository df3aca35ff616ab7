"""Tuning a checkpoint on a person's own conversations: whole, through an adapter, beside a teacher, with pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gemwright.errors import UserError
from gemwright.loading import load_model, load_tower
from gemwright.lora import Lora
from gemwright.recipes.tune import make, planned, tuning
from gemwright.train.distill import REPORTED
from gemwright.train.run import Run, override

CHATS = [("What is two?", "A number."), ("And three?", "Another one."), ("Say def.", "def"), ("Who?", "Me.")] * 4


@pytest.fixture
def chats(tmp_path: Path) -> str:
    path = tmp_path / "chats.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for question, answer in CHATS:
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": turns}) + "\n")
    return str(path)


def short(run: Run) -> Run:
    return override(run, ["data.row=64", "step.micro=64", "step.tokens=128", "optim.rate=1e-3"])


def test_a_whole_model_is_tuned_and_comes_out_as_it_came_in(tmp_path: Path, chats: str, one_thread: None) -> None:
    run = planned(short(tuning("pocket", (chats,), tmp_path / "run")), epochs=2)
    outcome, folder = make(run)
    assert outcome.finished and folder == tmp_path / "run" / "model"
    before, after = load_model("pocket"), load_model(folder)
    assert replace(after.spec, name=before.spec.name) == before.spec and after.dtype == before.dtype
    pairs = list(zip(before.model.parameters(), after.model.parameters(), strict=True))
    assert any(not torch.equal(one, other) for one, other in pairs)
    source = Path(before.folder)
    assert {path.name for path in source.iterdir()} <= {path.name for path in folder.iterdir()}
    first, last = (_losses(tmp_path / "run")[index] for index in (0, -1))
    assert last < first


def test_the_length_follows_from_the_texts(tmp_path: Path, chats: str) -> None:
    run = short(tuning("pocket", (chats,), tmp_path / "run"))
    once, thrice = planned(run, epochs=1), planned(run, epochs=3)
    assert 2 * once.steps < thrice.steps <= 3 * once.steps


def test_an_adapter_is_tuned_and_the_rest_stands_still(tmp_path: Path, chats: str, one_thread: None) -> None:
    lora = Lora(rank=4, alpha=8.0, targets=("query", "down"), dropout=0.1, rslora=False)
    run = planned(short(tuning("pocket", (chats,), tmp_path / "run", lora=lora)), epochs=2)
    outcome, none = make(run, stop=lambda step: step == 1)
    assert none is None and not outcome.finished
    outcome, folder = make(run, resume=True)
    assert outcome.finished and folder == tmp_path / "run" / "adapter"
    plain, adapted = load_model("pocket"), load_model("pocket", adapter=folder)
    for (name, one), other in zip(plain.model.named_parameters(), adapted.model.parameters(), strict=True):
        touched = name.endswith(("query.weight", "down.weight"))
        assert torch.equal(one, other) != touched, name


def test_a_stopped_adapter_goes_on_to_the_bit(tmp_path: Path, chats: str, one_thread: None) -> None:
    lora = Lora(rank=4, alpha=8.0, targets=("query",), dropout=0.5, rslora=False)
    folders = []
    for name, stop in (("whole", None), ("halves", 2)):
        run = planned(short(tuning("pocket", (chats,), tmp_path / name, lora=lora)), epochs=2)
        if stop:
            make(run, stop=lambda step: step == 2)
        _, folder = make(run, resume=bool(stop))
        assert folder is not None
        folders.append(folder / "adapter_model.safetensors")
    assert folders[0].read_bytes() == folders[1].read_bytes()


def test_a_teacher_is_asked_too(tmp_path: Path, chats: str, one_thread: None) -> None:
    distill = replace(REPORTED, teacher="pocket", kind="full", share=0.5)
    run = planned(short(tuning("pocket", (chats,), tmp_path / "run", distill=distill)), epochs=1)
    outcome, folder = make(run)
    assert outcome.finished and folder is not None


@pytest.mark.parametrize("tower", ["tuned", "frozen"])
def test_the_tower_that_comes_out_is_the_one_that_was_tuned_or_else_the_starts(
    tmp_path: Path, seeing: Path, shown: str, one_thread: None, tower: str
) -> None:
    sizes = ["data.row=256", "step.micro=256", "step.tokens=512", "optim.rate=1e-3", f"pictures.tower={tower}"]
    run = planned(override(tuning(str(seeing), (shown,), tmp_path / "run"), sizes), epochs=1)
    outcome, folder = make(run)
    assert folder is not None
    found, before = load_tower(folder).digest(), load_tower(seeing).digest()
    assert (found != before) == (tower == "tuned") == (outcome.tower is not None)
    if outcome.tower is not None:
        assert found == outcome.tower.digest()


def test_what_cannot_be_tuned_is_refused(tmp_path: Path, chats: str) -> None:
    with pytest.raises(UserError, match="does not exist"):
        tuning("./nowhere", (chats,), tmp_path / "run")
    run = short(tuning("pocket", (chats,), tmp_path / "run"))
    (tmp_path / "run" / "checkpoints" / "step-00000001").mkdir(parents=True)
    with pytest.raises(UserError, match="holds a run already"):
        planned(run, epochs=1)


def _losses(out: Path) -> list[float]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "step"]
