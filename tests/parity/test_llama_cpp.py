"""GGUF files that we write, run by llama.cpp: another implementation with another idea of every number.

Needs an interpreter with llama-cpp-python: this one, or the one that GEMWRIGHT_LLAMA_PYTHON names. llama.cpp looks gelu
up in a table of float16 numbers, which alone moves logits by some thousandths of their standard deviation. With silent
MLPs the two agree as closely as two float32 programs can. Whole models do so nearly when our gelu is rounded as that
table is (a value on a border may still be looked up beside its neighbour); as they are, they are held to what the table
leaves.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import awake
import passes
import pytest
import torch
import torch.nn.functional as F
from pairs import TOLERANCE, difference
from torch import Tensor

from gemwright.evals import sample
from gemwright.lm import load
from gemwright.loading import companions, load_model, open_checkpoint
from gemwright.nn.linear import Linear
from gemwright.weights import hub
from gemwright.weights.gguf.tokenizer import vocabulary_of
from gemwright.weights.gguf.write import write_gguf

PYTHON = os.environ.get("GEMWRIGHT_LLAMA_PYTHON") or (sys.executable if importlib.util.find_spec("llama_cpp") else None)
pytestmark = pytest.mark.skipif(PYTHON is None, reason="needs llama-cpp-python, or GEMWRIGHT_LLAMA_PYTHON")

CASES = pytest.mark.parametrize("case", ["gemma1", "gemma2", "gemma3", "gemma3-factor8"])
SCRIPT = Path(__file__).parent / "llama_answers.py"
TEXT = """def  main(argv):\n\n\n\treturn  "Grüße, 日本!"  # <end_of_turn> <pad> 12345\n\t\t\n""" + " " * 40 + "\n" * 50


def asked(path: Path, question: dict[str, Any]) -> Any:
    files = path.with_suffix(".question"), path.with_suffix(".answer")
    files[0].write_text(json.dumps(question))
    command = [str(PYTHON), str(SCRIPT), str(path), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(files[1].read_text())


def checkpoint(case: str, folder: Path, silent: bool) -> Path:
    """An awake checkpoint whose scores are scaled as the format takes for granted."""
    model = awake.build(case)
    for name, parameter in model.named_parameters():
        if silent and "down_proj" in name:
            parameter.zero_()
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    if "query_pre_attn_scalar" in config:
        config["query_pre_attn_scalar"] = config["head_dim"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def both(case: str, folder: Path, silent: bool) -> tuple[Tensor, Tensor]:
    """Our logits and llama.cpp's, of a text five windows long."""
    opened = open_checkpoint(checkpoint(case, folder / case, silent))
    path = folder / f"{case}.gguf"
    write_gguf(path, opened.spec, opened.source, opened.names, linear="f32")
    ids = awake.text(0)
    ours = passes.packed(load_model(folder / case, dtype="float32", device="cpu").model, [ids])[0]
    return ours, torch.tensor(asked(path, {"ids": ids.tolist()})["logits"])


def _typical(ours: Tensor, theirs: Tensor) -> float:
    """The root mean square of the differences, in standard deviations."""
    return float((ours - theirs).square().mean().sqrt() / theirs.std())


@CASES
def test_all_but_the_mlp_agrees_to_float32(case: str, tmp_path: Path) -> None:
    ours, theirs = both(case, tmp_path, silent=True)
    assert difference(ours, theirs) <= TOLERANCE


@CASES
def test_the_whole_model_agrees_to_the_table_of_gelu(case: str, tmp_path: Path) -> None:
    ours, theirs = both(case, tmp_path, silent=False)
    assert _typical(ours, theirs) <= 1e-3
    assert difference(ours, theirs) <= 1e-2


def _tabled(linear: Linear, x: Tensor) -> Tensor:
    """gelu as a table of float16 numbers gives it, beyond 10 on either side exactly."""
    y = linear(x)
    looked_up = F.gelu(y.half().float(), approximate="tanh").half().float()
    return torch.where(y.abs() < 10, looked_up, y.clamp(min=0))


@CASES
def test_with_gelu_from_the_same_table_the_whole_model_agrees(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Linear, "gelu", _tabled)
    ours, theirs = both(case, tmp_path, silent=False)
    assert _typical(ours, theirs) <= 2.5e-4
    assert difference(ours, theirs) <= 2.5e-3


def test_text_becomes_the_same_ids(tmp_path: Path) -> None:
    opened = open_checkpoint(hub.resolve(None))
    path = tmp_path / "pocket.gguf"
    write_gguf(path, opened.spec, opened.source, opened.names, vocabulary=vocabulary_of(opened.folder), linear="f32")
    tokenizer = companions(path).tokenizer
    assert tokenizer is not None
    assert asked(path, {"text": TEXT})["ids"] == tokenizer.encode(TEXT)


@pytest.mark.parametrize("linear", ["q8_0", "q4_0"])
def test_packed_weights_are_read_as_we_read_them(linear: str, tmp_path: Path) -> None:
    """llama.cpp also rounds the activations to 8 bits, so the two are near and not equal."""
    opened = open_checkpoint(hub.resolve(None))
    path = tmp_path / "pocket.gguf"
    write_gguf(path, opened.spec, opened.source, opened.names, vocabulary=vocabulary_of(opened.folder), linear=linear)
    ids = torch.tensor(companions(path).tokenizer.encode(TEXT, bos=True)[:60])  # type: ignore[union-attr]
    theirs = torch.tensor(asked(path, {"ids": ids.tolist()})["logits"])
    packed, plain = (
        passes.packed(load_model(where, dtype="float32", device="cpu").model, [ids])[0]
        for where in (path, opened.folder)
    )
    error = _typical(packed, theirs)
    assert error <= 0.03
    assert linear == "q8_0" or error <= 0.2 * _typical(plain, theirs)


def _divergence(exact: Tensor, rounded: Tensor) -> float:
    """Mean KL(exact || rounded) over the rows, in nats."""
    one, two = exact.double().log_softmax(1), rounded.double().log_softmax(1)
    return float((one.exp() * (one - two)).sum(1).mean())


@pytest.mark.parametrize("linear", ["q8_0", "q4_0"])
def test_rounding_costs_us_no_more_than_twice_what_it_costs_llama_cpp(linear: str, tmp_path: Path) -> None:
    opened, vocabulary = open_checkpoint(hub.resolve(None)), vocabulary_of(hub.resolve(None))
    texts = load(None).tokenizer.encode(sample.docstrings(), bos=True)[:960]  # type: ignore[union-attr]
    parts = [texts[start : start + 240] for start in range(0, 960, 240)]
    found: dict[str, list[Tensor]] = {}
    for kind in ("f32", linear):
        path = tmp_path / f"{kind}.gguf"
        write_gguf(path, opened.spec, opened.source, opened.names, vocabulary=vocabulary, linear=kind)
        lm = load(path, dtype="float32" if kind == "f32" else "auto")
        found[f"ours {kind}"] = [lm.logits(part) for part in parts]
        found[f"theirs {kind}"] = [torch.tensor(asked(path, {"ids": part})["logits"]) for part in parts]
    cost = {
        who: _divergence(torch.cat(found[f"{who} f32"]), torch.cat(found[f"{who} {linear}"]))
        for who in ("ours", "theirs")
    }
    print(f"{linear}: {cost}")
    assert 0 < cost["ours"] <= 2 * cost["theirs"]
