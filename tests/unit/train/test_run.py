"""A run's fields are set by name and type, and a mistake names the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gemwright.errors import UserError
from gemwright.lora import Lora
from gemwright.train.distill import REPORTED
from gemwright.train.pictures import FROZEN
from gemwright.train.run import Run, changed, check, facts, override, settable

MakeRun = Callable[..., Run]


def test_values_are_read_by_the_type_of_their_field(make_run: Callable[..., Run]) -> None:
    settings = ["optim.rate=3e-4", "steps=1e3", "step.tokens=1_024", "schedule.kind=linear", "data.sources=a.txt, b"]
    run = override(make_run(), [*settings, "compute=bfloat16"])
    assert (run.optim.rate, run.steps, run.step.tokens, run.schedule.kind) == (3e-4, 1000, 1024, "linear")
    assert (run.data.sources, run.compute) == (("a.txt", "b"), "bfloat16")
    assert isinstance(run.steps, int)


def test_nothing_else_changes(make_run: Callable[..., Run]) -> None:
    run = make_run()
    assert changed(override(run, ["optim.clip=2"]), facts(run)) == ["optim.clip was 1.0 and is 2.0"]
    assert override(run, []) == run


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("optim.rat=1", "did you mean optim.rate"),
        ("nothing=1", "fields: "),
        ("model=gemma", "no field 'model'"),
        ("tokenizer=mine", "no field 'tokenizer'"),
        ("out=elsewhere", "no field 'out'"),
        ("seed=-1", "seed cannot be -1"),
        (f"seed={2**63}", f"0 to {2**63 - 1}"),
        ("optim=1", "no field 'optim'"),
        ("optim.rate", "sets nothing"),
        ("optim.rate=fast", "it is a number"),
        ("optim.rate=nan", "it is a number"),
        ("optim.rate=-1", "optim.rate cannot be -1"),
        ("steps=2.5", "it is a whole number"),
        ("steps=1e999", "it is a whole number"),
        ("steps=0", "steps cannot be 0"),
        ("schedule.kind=square", "one of cosine, linear, wsd, constant"),
        ("schedule.warmup=6", "less than steps (6)"),
        ("data.held_out=1", "data.held_out cannot be 1"),
        ("data.row=65", "context (64)"),
        ("step.micro=31", "at least a row (32)"),
        ("step.micro=128", "at most a step (64)"),
        ("data.sources=", "data.sources cannot be"),
        ("step.recompute=maybe", "true or false"),
        ("schedule.decay=1.5", "0 to 1"),
        ("ema=1", "ema cannot be 1"),
        ("chosen=average", "no average without ema"),
        ("start=elsewhere", "no field 'start'"),
    ],
)
def test_a_mistake_is_named(make_run: Callable[..., Run], setting: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        override(make_run(), [setting])
    assert said in str(caught.value)


def test_every_settable_field_takes_its_own_value(make_run: MakeRun, make_seeing: MakeRun) -> None:
    taught = replace(make_run(), distill=replace(REPORTED, teacher="somewhere"))
    assert "optim.rate" in settable() and not any(name.startswith("model") for name in settable())
    for name in settable():
        run = make_seeing(pictures=FROZEN, start="somewhere") if name.startswith("pictures") else taught
        value = facts(run)
        for part in name.split("."):
            value = value[part]
        text = ",".join(value) if isinstance(value, list) else str(value)
        assert override(run, [f"{name}={text}"]) == run


def test_a_teacher_is_learnt_from_as_the_report_words_it_unless_told_otherwise(make_run: Callable[..., Run]) -> None:
    run = override(make_run(), ["distill.share=0.5", "distill.teacher=somewhere"])
    assert run.distill == replace(REPORTED, share=0.5, teacher="somewhere")
    with pytest.raises(UserError, match=r"distill\.teacher"):
        override(make_run(), ["distill.share=0.5"])


def test_an_adapter_needs_a_model_to_stand_on(make_run: Callable[..., Run]) -> None:
    lora = Lora(rank=2, alpha=4.0, targets=("query",), dropout=0.0, rslora=False)
    with pytest.raises(UserError, match="lora"):
        check(replace(make_run(), lora=lora))
    check(replace(make_run(), lora=lora, start="somewhere"))


def test_a_run_survives_json_and_folders_and_watching_do_not_decide_it(make_run: Callable[..., Run]) -> None:
    run = make_run("one")
    told = json.loads(json.dumps(facts(run)))
    assert changed(run, told) == []
    assert changed(override(make_run("two"), ["watch.log=7"]), told) == []
    assert changed(override(run, ["seed=9", "data.row=16"]), told) == [
        "data.row was 32 and is 16",
        "seed was 5 and is 9",
    ]


def test_a_decay_that_would_begin_within_the_warm_up_is_refused(make_run: Callable[..., Run]) -> None:
    settings = ["steps=20", "schedule.warmup=5", "schedule.kind=wsd"]
    assert override(make_run(), [*settings, "schedule.decay=0.75"]).schedule.falling(20) == 15
    with pytest.raises(UserError, match=r"schedule\.decay cannot be 0\.8"):
        override(make_run(), [*settings, "schedule.decay=0.8"])


def test_recompute_the_choice_of_weights_and_watching_may_change_on_the_way(make_run: Callable[..., Run]) -> None:
    run = override(make_run(), ["ema=0.9"])
    free = ["step.recompute=true", "chosen=average", "watch.tensorboard=true"]
    assert changed(override(run, free), facts(run)) == []
    assert changed(override(run, ["ema=0.99"]), facts(run)) == ["ema was 0.9 and is 0.99"]


def test_a_fit_run_is_returned_as_it_is(make_run: Callable[..., Run]) -> None:
    run = make_run()
    assert check(run) is run


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": None}, "the model has no vision tower"),
        ({"distill": replace(REPORTED, teacher="somewhere")}, "distill knows no pictures yet"),
        ({"pictures": FROZEN}, "a frozen tower needs a model to start from"),
        ({"pictures": replace(FROZEN, tower="tuned", embeddings="x")}, "a tower that is tuned makes its own"),
        ({"data": None}, "a picture takes 4 tokens and two marks, and data.row is 5"),
        ({"lora": Lora(rank=2, alpha=4.0, targets=("query",), dropout=0.0, rslora=False), "start": "x"}, "lora"),
    ],
)
def test_pictures_that_cannot_be_looked_at_are_refused_by_name(
    make_seeing: MakeRun, changes: dict[str, Any], said: str
) -> None:
    run = make_seeing()
    known = {"model": replace(run.model, vision=None), "data": replace(run.data, row=5)}
    with pytest.raises(UserError, match=said):
        check(replace(run, **{name: known.get(name) if value is None else value for name, value in changes.items()}))


def test_a_setting_brings_pictures_to_a_run(make_seeing: MakeRun) -> None:
    run = make_seeing(pictures=None, start="somewhere")
    assert override(run, ["pictures.embeddings=folder"]).pictures == replace(FROZEN, embeddings="folder")
    assert override(run, ["pictures.tower=tuned"]).pictures == replace(FROZEN, tower="tuned")


def test_a_text_run_from_before_there_were_pictures_is_the_same_run(make_run: MakeRun, make_seeing: MakeRun) -> None:
    told = facts(make_run())
    del told["pictures"]
    assert changed(make_run(), told) == []
    assert changed(make_seeing(), facts(make_seeing(pictures=None)))[-1] == "pictures.tower was None and is tuned"
