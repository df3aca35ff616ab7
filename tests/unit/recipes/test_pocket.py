"""The embedded model: small enough to ship, whole, and what its recipe says."""

from __future__ import annotations

import glob
import json
import re
import tomllib
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

import torch

from gemwright.arch.spec import Attention, check
from gemwright.loading import load_model
from gemwright.recipes import family
from gemwright.text.tokenizer import Tokenizer
from gemwright.weights import hub

LIMIT = 16_000_000  # bytes of the whole folder


def test_it_is_a_whole_gemma_3_of_twelve_layers() -> None:
    spec = family.pocket()
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


def test_what_is_shipped_is_what_its_recipe_makes(tmp_path: Path) -> None:
    folder = hub.embedded()
    facts = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    recipe = import_module(f"gemwright.recipes.{facts['recipe']}")
    run = getattr(recipe, facts["recipe"])(tmp_path)
    loaded = load_model(folder)
    assert replace(loaded.spec, name=run.model.name) == run.model and loaded.dtype == torch.bfloat16
    assert Tokenizer.load(folder).vocab_size == loaded.spec.vocab
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in facts["train"]["sha256"])
    assert (facts["steps"], facts["seed"], facts["optim"]) == (run.steps, run.seed, asdict(run.optim))
    assert facts["parameters"] == sum(parameter.numel() for parameter in loaded.model.parameters())
