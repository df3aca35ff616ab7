"""Objectives of distillation: made of settings, for students of any family, under any loss mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gemwright.data.pack import Packer
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.text.tokenizer import Tokenizer
from gemwright.train.distill import Distill
from gemwright.train.distillation import live, objective_of, widened
from gemwright.train.divergence import divergence
from gemwright.train.loop import train
from gemwright.train.next_token import next_token
from gemwright.train.objective import Objective
from gemwright.train.run import Run
from gemwright.train.teach import teach
from gemwright.train.teacher import Teacher, load_teacher


def settings(**changes: Any) -> Distill:
    base: dict[str, Any] = {"teacher": "t", "store": None, "kind": "sampled", "wording": "report", "samples": 64}
    base |= {"seed": 1, "divergence": "forward", "beta": 0.5, "temperature": 1.0, "share": 1.0, "z": 0.0}
    return Distill(**(base | changes))


@pytest.fixture
def make(teacher_folder: Path, tokenizer: Tokenizer, make_rows: Callable[..., Packer]) -> Callable[..., Objective]:
    """The objective of some settings, for rows of 32 tokens."""

    def make(vocab: int = 320, rows: int = 6, **changes: Any) -> Objective:
        known = {"tokenizer": tokenizer, "source": make_rows().source, "row": 32, "rows": rows, "vocab": vocab}
        return objective_of(settings(**({"teacher": str(teacher_folder)} | changes)), **known)

    return make


def student(tiny: Callable[[str], Decoder], name: str = "recurrentgemma-2b") -> Decoder:
    """A fresh model of a family's tiny shape."""
    model = Decoder(tiny(name).spec)
    initialise(model, torch.Generator().manual_seed(1))
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"wording": "counts"},
        {"temperature": 2.0},
        {"kind": "full"},
        {"kind": "full", "divergence": "reverse"},
        {"kind": "full", "divergence": "js"},
        {"kind": "top", "samples": 8},
    ],
)
def test_a_recurrent_student_comes_closer_to_a_gemma_3(
    changes: dict[str, Any],
    make: Callable[..., Objective],
    make_rows: Callable[..., Packer],
    tiny: Callable[[str], Decoder],
    teacher_folder: Path,
    tokenizer: Tokenizer,
) -> None:
    objective, model, batch = make(**changes), student(tiny), make_rows().take(4)
    known = load_teacher(teacher_folder, tokenizer, row=32)
    wanted = known.run(batch, lambda hidden, head: head.logits(hidden))

    def distance() -> float:
        with torch.no_grad():
            logits = model(batch.ids, batch.span, use=lambda hidden, head: head.logits(hidden))
        return float(divergence("forward", logits, wanted).mean())

    optimiser, before = torch.optim.Adam(model.parameters(), lr=1e-2), distance()
    for _ in range(10):
        optimiser.zero_grad()
        found = objective(model, batch)
        (found.total / found.count).backward()
        optimiser.step()
    assert distance() < 0.8 * before


def test_only_the_models_turns_are_distilled(
    make: Callable[..., Objective], make_rows: Callable[..., Packer], tiny: Callable[[str], Decoder]
) -> None:
    """What a target would be where nothing is learnt changes nothing; the count is the learnt tokens'."""
    model, batch = student(tiny), make_rows(chat=True).take(2)
    hidden_away = batch.weight == 0
    for changes in ({"share": 0.5}, {"kind": "full", "share": 0.5}):
        objective = make(**changes)
        other = replace(batch, targets=torch.where(hidden_away, 7, batch.targets))
        one, two = objective(model, batch), objective(model, other)
        assert hidden_away.any() and torch.equal(one.total, two.total)
        assert one.count == float((~hidden_away).sum())


def test_a_batch_without_anything_to_learn_has_no_loss(
    make: Callable[..., Objective], make_rows: Callable[..., Packer], tiny: Callable[[str], Decoder]
) -> None:
    batch = make_rows().take(1)
    batch = replace(batch, weight=torch.zeros_like(batch.weight))
    for changes in ({}, {"kind": "full"}):
        found = make(**changes)(student(tiny), batch)
        found.total.backward()
        assert found.count == 0 and not found.total.detach().any()


@pytest.mark.parametrize("kind", ["sampled", "full", "top"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_parts_make_the_whole(
    kind: str,
    temperature: float,
    make: Callable[..., Objective],
    make_rows: Callable[..., Packer],
    tiny: Callable[[str], Decoder],
) -> None:
    model, batch = student(tiny), make_rows().take(2)
    found = make(kind=kind, temperature=temperature, share=0.25, z=0.01)(model, batch)
    torch.testing.assert_close(
        found.total.detach(), 0.25 * found.parts["distilled"] + 0.75 * found.parts["plain"], rtol=1e-5, atol=1e-3
    )
    torch.testing.assert_close(found.parts["plain"], next_token(model, batch).total.detach())


def test_z_is_added_whatever_the_share(tiny: Callable[[str], Decoder], make_rows: Callable[..., Packer]) -> None:
    model, batch = student(tiny), make_rows().take(1)
    teacher = Teacher(name="t", model=tiny("gemma-3-1b"), vocab=320)
    logits = model(batch.ids, batch.span, use=lambda hidden, head: head.logits(hidden)).detach()
    for kind in ("sampled", "full"):
        for temperature in (1.0, 2.0):
            with_z, without = (
                live(settings(kind=kind, share=0.25, temperature=temperature, z=z), teacher)(model, batch).total
                for z in (0.1, 0.0)
            )
            wanted = 0.1 * temperature**2 * (logits / temperature).logsumexp(1).square().sum()
            torch.testing.assert_close(with_z - without, wanted, rtol=1e-4, atol=1e-3)


def test_under_autocast_the_student_alone_computes_in_bfloat16(
    make: Callable[..., Objective], make_rows: Callable[..., Packer], tiny: Callable[[str], Decoder]
) -> None:
    batch, model, dtypes = make_rows().take(2), student(tiny), []
    model.layers[0].mlp.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    objective = make(kind="full")
    with torch.autocast("cpu", torch.bfloat16):
        found = objective(model, batch)
    found.total.backward()
    assert dtypes == [torch.bfloat16] and found.total.dtype == torch.float32
    with torch.no_grad():
        exact = objective(model, batch).total
    assert abs(float(found.total.detach() / exact) - 1) < 0.02


def test_a_teacher_without_those_rows_takes_them_for_the_unlikeliest() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.0]])
    assert widened(logits, 5).tolist() == [[2.0, -1.0, 0.0, -1.0, -1.0]]
    assert widened(logits, 3) is logits


def test_a_student_with_too_small_a_table_is_refused(make: Callable[..., Objective]) -> None:
    with pytest.raises(UserError, match="has 100 rows"):
        make(vocab=100)


@pytest.fixture
def stored(teacher_folder: Path, tokenizer: Tokenizer, make_rows: Callable[..., Packer], tmp_path: Path) -> str:
    """A store of six rows."""
    teacher = load_teacher(teacher_folder, tokenizer, row=32)
    numbers = {"row": 32, "rows": 6, "samples": 64, "seed": 1}
    teach(teacher, make_rows(), tmp_path / "store", tokenizer=tokenizer, **numbers)
    return str(tmp_path / "store")


def test_a_store_stands_in_for_its_teacher(
    stored: str, make: Callable[..., Objective], make_rows: Callable[..., Packer], tiny: Callable[[str], Decoder]
) -> None:
    model, batch = student(tiny), make_rows().take(6)
    one, other = (make(**changes)(model, batch) for changes in ({}, {"teacher": None, "store": stored}))
    assert (one.total - other.total).detach().abs() / one.count < 1e-3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 2}, "seed of the draws"),
        ({"samples": 32}, "number of draws"),
        ({"temperature": 2.0}, "temperature"),
        ({"vocab": 100}, "100 rows"),
        ({"rows": 7}, "covers 6 rows of the 7"),
    ],
)
def test_a_store_that_does_not_fit_is_refused(
    changes: dict[str, Any], said: str, stored: str, make: Callable[..., Objective]
) -> None:
    with pytest.raises(UserError, match=said):
        make(**({"teacher": None, "store": stored} | changes))


def test_a_store_of_other_rows_is_refused(stored: str, tokenizer: Tokenizer, make_rows: Callable[..., Packer]) -> None:
    known = {"tokenizer": tokenizer, "source": make_rows(seed=2).source, "row": 32, "rows": 6, "vocab": 320}
    with pytest.raises(UserError, match=r"packing was .*seed=1.* and is .*seed=2"):
        objective_of(settings(teacher=None, store=stored), **known)


def test_a_resumed_run_learns_the_same(make_run: Callable[..., Run], tiny: Callable[[str], Decoder]) -> None:
    """Draws are keyed by place, so a run that is cut in two meets those that it would have met."""
    objective = live(settings(samples=16), Teacher(name="t", model=tiny("gemma-3-1b"), vocab=300))
    whole = train(make_run("whole"), objective=objective)
    train(make_run("cut"), objective=objective, stop=lambda step: step == 3)
    resumed = train(make_run("cut"), objective=objective, resume=True)
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)
