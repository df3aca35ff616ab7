"""The embedded model's recipe: small enough to ship, whole, and repeatable."""

from __future__ import annotations

import dataclasses
import glob
import json
import re
import tomllib
from itertools import islice
from pathlib import Path

import pytest
import torch

from gemwright.arch.spec import Attention, check
from gemwright.data import python_text
from gemwright.data.documents import PYTHON
from gemwright.errors import UserError
from gemwright.loading import load_model
from gemwright.recipes.pocket import SAMPLING, main, make, model, pocket, report
from gemwright.text.tokenizer import Tokenizer
from gemwright.train.run import Run, override
from gemwright.weights import hub
from gemwright.weights.generation import read_generation

LIMIT = 6_000_000  # bytes of the whole folder


def test_it_is_a_whole_gemma_3_of_twelve_layers() -> None:
    spec = model()
    check(spec)
    assert spec.kinds == (("local",) * 5 + ("global",)) * 2
    mixers = [layer.mixer for layer in spec.layers if isinstance(layer.mixer, Attention)]
    assert len(mixers) == 12 and all(mixer.qk_norm and mixer.group > 1 for mixer in mixers)
    assert {mixer.rope.base for mixer in mixers} == {10_000.0, 1_000_000.0}


def test_it_fits_in_the_package() -> None:
    assert sum(path.stat().st_size for path in hub.embedded().rglob("*")) <= LIMIT


def test_every_file_of_it_is_installed() -> None:
    package = hub.embedded().parent.parent
    settings = tomllib.loads((package.parent / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["gemwright"]
    taken = {name for pattern in patterns for name in glob.glob(pattern, root_dir=package, recursive=True)}
    files = {path.relative_to(package).as_posix() for path in hub.embedded().rglob("*") if path.is_file()}
    assert len(files) > 5 and files <= taken


def test_what_is_shipped_is_this_recipes_model() -> None:
    folder = hub.embedded()
    loaded = load_model(folder)
    assert loaded.spec == model() and loaded.dtype == torch.bfloat16
    assert Tokenizer.load(folder).vocab_size == loaded.spec.vocab
    facts = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    assert re.fullmatch("[0-9a-f]{64}", facts["train"]["sha256"])
    assert facts["parameters"] == sum(parameter.numel() for parameter in loaded.model.parameters())


def _small(tmp_path: Path, name: str) -> Run:
    """The recipe with a tenth of the model, and sixty documents in place of thousands."""
    text = tmp_path / "text.jsonl"
    with text.open("w", encoding="utf-8") as file:
        for document in islice(python_text.documents(), 60):
            file.write(json.dumps({"text": document.text}) + "\n")
    run = pocket(tmp_path / name)
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
    assert facts["steps"] == 6 and len(facts["train"]["sha256"]) == 64
    assert facts["held_out"]["bits_per_byte"] == outcome.held_out.bits_per_byte
    # The text was given by a person: nothing is said of a licence, or of a Python that it would come from.
    assert facts["text"] == list(run.data.sources) and not {"text_license", "python"} & set(facts)
    own = report(dataclasses.replace(run, data=dataclasses.replace(run.data, sources=(PYTHON,))), outcome)
    assert (own["text_license"], own["python"]) == ("PSF-2.0", python_text.version())


def test_stopped_and_resumed_it_makes_the_same_folder(tmp_path: Path, one_thread: None) -> None:
    _, whole = make(_small(tmp_path, "whole"))
    outcome, none = make(_small(tmp_path, "halves"), stop=lambda step: step == 3)
    assert none is None and outcome.step == 3
    _, halves = make(_small(tmp_path, "halves"), resume=True)
    assert whole is not None and halves is not None
    for path in whole.iterdir():
        assert path.read_bytes() == (halves / path.name).read_bytes(), path.name


def test_a_finished_run_is_not_overwritten(
    tmp_path: Path, one_thread: None, capsys: pytest.CaptureFixture[str]
) -> None:
    make(_small(tmp_path, "run"))
    before = (tmp_path / "run" / "tokenizer" / "tokenizer.model").read_bytes()
    assert main(["--out", str(tmp_path / "run")]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (tmp_path / "run" / "tokenizer" / "tokenizer.model").read_bytes() == before


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


def test_a_folder_with_an_impossible_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / ("x" * 300))]) == 2
    assert "cannot be looked up" in capsys.readouterr().err


def test_a_wrong_setting_ends_with_two_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--set", "optim.speed=3"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: a run has no field 'optim.speed'\nhint: ") and said.count("\n") == 2
