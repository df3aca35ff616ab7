"""The shortest recipe: whole, repeatable, and careful with what lies in its folder."""

from __future__ import annotations

import dataclasses
import json
from itertools import islice
from pathlib import Path

import pytest
import torch

from gemwright.data import python_text
from gemwright.data.documents import PYTHON
from gemwright.errors import UserError
from gemwright.loading import load_model
from gemwright.recipes.common import results
from gemwright.recipes.python import SAMPLING, make, python
from gemwright.text.tokenizer import Tokenizer
from gemwright.train.run import Run, override
from gemwright.weights.generation import read_generation


def _small(tmp_path: Path, name: str) -> Run:
    """The recipe with a tenth of the model, and sixty documents in place of thousands."""
    text = tmp_path / "text.jsonl"
    with text.open("w", encoding="utf-8") as file:
        for document in islice(python_text.documents(), 60):
            file.write(json.dumps({"text": document.text}) + "\n")
    run = python(tmp_path / name)
    layers = tuple(
        dataclasses.replace(layer, mlp=dataclasses.replace(layer.mlp, hidden=32)) for layer in run.model.layers[4:7]
    )
    run = dataclasses.replace(
        run,
        model=dataclasses.replace(run.model, width=32, embed_scale=32**0.5, vocab=600, layers=layers),
        step=dataclasses.replace(run.step, tokens=256, micro=256),
    )
    settings = [f"data.sources={text}", "data.row=128", "steps=6", "schedule.warmup=1", "data.held_out=0.1"]
    return override(run, [*settings, "watch.checkpoint=2"])


def test_the_folder_holds_all_that_a_reader_needs(tmp_path: Path, one_thread: None) -> None:
    run = _small(tmp_path, "run")
    outcome, folder = make(run)
    assert folder == run.out / "model" and outcome.finished and outcome.held_out is not None
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.model", "tokenizer.json", "generation_config.json"} <= names
    loaded = load_model(folder)
    assert loaded.dtype == torch.bfloat16 and loaded.spec.kinds == run.model.kinds
    trained = dict(outcome.model.named_parameters())
    assert all(torch.equal(value, trained[name].bfloat16()) for name, value in loaded.model.named_parameters())
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.vocab_size == 600
    generation = read_generation(folder)
    assert generation["eos_token_id"] == (tokenizer.eos,)  # it was never tuned on turns, and does not claim it
    assert generation["temperature"] == SAMPLING["temperature"]
    facts = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    assert facts["steps"] == 6 and [len(each) for each in facts["train"]["sha256"]] == [64]
    assert facts["held_out"]["bits_per_byte"] == outcome.held_out.bits_per_byte
    # The text was given by a person: nothing is said of a licence, or of a Python that it would come from, or of where
    # it lies on their disk.
    assert facts["text"] == ["text.jsonl"] and "python" not in facts
    own = results(dataclasses.replace(run, data=dataclasses.replace(run.data, sources=(PYTHON,))), outcome)
    assert own["python"] == {"version": python_text.version(), "license": "PSF-2.0"}


def test_stopped_and_resumed_it_makes_the_same_folder(tmp_path: Path, one_thread: None) -> None:
    _, whole = make(_small(tmp_path, "whole"))
    outcome, none = make(_small(tmp_path, "halves"), stop=lambda step: step == 3)
    assert none is None and outcome.step == 3
    _, halves = make(_small(tmp_path, "halves"), resume=True)
    assert whole is not None and halves is not None
    for path in whole.iterdir():
        assert path.read_bytes() == (halves / path.name).read_bytes(), path.name


def test_a_finished_run_is_not_overwritten(tmp_path: Path, one_thread: None) -> None:
    run = _small(tmp_path, "run")
    make(run)
    before = (run.tokenizer / "tokenizer.model").read_bytes()
    with pytest.raises(UserError, match="holds a run already"):
        make(run)
    assert (run.tokenizer / "tokenizer.model").read_bytes() == before


@pytest.mark.parametrize("name", ["tokenizer", "model"])
def test_what_a_person_keeps_where_a_run_would_write_is_left_alone(tmp_path: Path, name: str) -> None:
    run = _small(tmp_path, "run")
    kept = run.out / name / "tokenizer.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    with pytest.raises(UserError, match=f"{name} is there already"):
        make(run)
    assert kept.read_text() == "mine" and list(run.out.rglob("*")) == [kept.parent, kept]


def test_a_tokenizer_outside_the_runs_folder_is_not_written_over(tmp_path: Path) -> None:
    run = dataclasses.replace(_small(tmp_path, "run"), tokenizer=tmp_path / "mine")
    run.tokenizer.mkdir()
    (run.tokenizer / "tokenizer.model").write_text("mine")
    for resume in (False, True):
        with pytest.raises(UserError, match="already"):
            make(run, resume=resume)
    assert (run.tokenizer / "tokenizer.model").read_text() == "mine"


def test_a_folder_with_an_impossible_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be looked up"):
        python(tmp_path / ("x" * 300))
