"""quantize, and --quant and --int8-cache wherever a model is run or planned, as people type them."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gemwright.bench.bandwidth import read_bandwidth
from gemwright.cli.main import main
from gemwright.engine.request import Sampling
from gemwright.lm import load
from gemwright.quant.scheme import SCHEMES

SHAPE = ("width=64", "depth=7", "hidden=96", "head_dim=32", "query_scalar=32", "window=16", "context=256")
GREEDY = ("--temperature", "0", "--max-tokens", "8")
GREEDY_SAMPLING = Sampling(temperature=0, max_tokens=8)
MEASURES = {"tokens", "kl", "kl_99", "original_perplexity", "perplexity", "agreement"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, vocabulary: Path) -> Path:
    """A fresh Gemma 3 in bfloat16 whose rows can be cut into groups."""
    folder = tmp_path_factory.mktemp("models") / "small"
    sizes = [word for size in SHAPE for word in ("--set", size)]
    words = ("new", "gemma-3-270m", *sizes, "--seed", "5", "--dtype", "bfloat16", "--tokenizer", vocabulary)
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words), "--out", str(folder)])
    assert not ended.value.code
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A short text to measure on."""
    path = tmp_path / "text.py"
    path.write_text("def parse(self, args=None):\n    return [1, 2]\n" * 20)
    return path


def test_a_quantised_folder_answers_as_rounding_on_load_does(
    cli: Callable, folder: Path, text: Path, tmp_path: Path
) -> None:
    ended = cli("quantize", folder, "--quant", "int4", "--out", tmp_path / "int4", "--text", text)
    assert ended.code == 0 and ended.err == ""
    assert "KL divergence" in ended.out and f"wrote {tmp_path / 'int4'}" in ended.out
    ids = list(range(2, 60))
    assert torch.equal(load(tmp_path / "int4").logits(ids), load(folder, quant="int4").logits(ids))
    written = cli("generate", "def ", "-m", tmp_path / "int4", *GREEDY)
    assert written.code == 0 and written.out == cli("generate", "def ", "-m", folder, "--quant", "int4", *GREEDY).out


@pytest.mark.parametrize("name", ["q8_0", "q4_0", "q4_0-all", "bf16"])
def test_a_gguf_file_answers_as_rounding_on_load_does(
    cli: Callable, folder: Path, text: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "small.gguf"
    assert cli("quantize", folder, "--quant", name, "--out", out, "--text", text).code == 0
    ids = list(range(2, 60))
    assert torch.equal(load(out).logits(ids), load(folder, quant=name).logits(ids))


def test_what_is_measured_is_json_too_and_nothing_need_be_written(cli: Callable, folder: Path, text: Path) -> None:
    found = {
        name: cli("quantize", folder, "--quant", name, "--text", text, "--json").json for name in ("q8_0", "q4_0-all")
    }
    for name, tree in found.items():
        assert tree["quant"] == name and tree["out"] is None and tree["original_dtype"] == "float32"
        assert tree.keys() >= MEASURES and 0 < tree["kl"] < tree["kl_99"] and 0 < tree["agreement"] <= 1
    assert found["q4_0-all"]["kl"] > 4 * found["q8_0"]["kl"]
    assert found["q4_0-all"]["bytes_after"] < found["q8_0"]["bytes_after"] < found["q8_0"]["bytes_before"]


def test_the_bytes_are_those_of_the_file(cli: Callable, folder: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "int4"
    tree = cli("quantize", folder, "--quant", "int4", "--out", out, "--text", text, "--json").json
    before, after = ((path / "model.safetensors").stat().st_size for path in (folder, out))
    assert 0 < before - tree["bytes_before"] < 20_000 and 0 < after - tree["bytes_after"] < 20_000  # headers


def test_the_default_text_is_at_hand_and_long_enough(cli: Callable, folder: Path) -> None:
    assert cli("quantize", folder, "--quant", "q8_0", "--json").json["tokens"] > 2000


def test_inspect_tells_how_weights_are_held(cli: Callable, folder: Path, text: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "q", tmp_path / "q.gguf"):
        assert cli("quantize", folder, "--quant", "q4_0", "--out", out, "--text", text).code == 0
    assert "49 × q4_0, 43 × BF16, 1 × q8_0" in cli("inspect", tmp_path / "q").out
    assert cli("inspect", tmp_path / "q.gguf", "--json").json["packed"] == {"Q4_0": 49, "F32": 43, "Q8_0": 1}
    assert cli("inspect", folder, "--json").json["packed"] == {}


def test_a_quantised_folder_is_widened_by_convert(cli: Callable, folder: Path, text: Path, tmp_path: Path) -> None:
    assert cli("quantize", folder, "--quant", "int8", "--out", tmp_path / "q", "--text", text).code == 0
    ended = cli("convert", tmp_path / "q", "--out", tmp_path / "wide")
    assert ended.code == 0 and "50 int8 tensors are held as bfloat16" in ended.err
    tree = cli("inspect", tmp_path / "wide", "--json").json
    assert tree["dtypes"] == ["bfloat16"] and tree["packed"] == {} and tree["tokenizer"]


def test_a_plan_knows_schemes_and_quantised_folders(cli: Callable, folder: Path, text: Path, tmp_path: Path) -> None:
    assert cli("quantize", folder, "--quant", "q4_0", "--out", tmp_path / "q", "--text", text).code == 0
    plain = cli("plan", folder, "--json").json
    asked = cli("plan", folder, "--quant", "q4_0", "--json").json
    held = cli("plan", tmp_path / "q", "--json").json
    assert plain["quant"] is None and asked["quant"] == "q4_0" and held["quant"] is None
    assert held["total"] == asked["total"] < plain["total"]
    shown = cli("plan", folder, "--quant", "q4_0")
    assert "in q4_0" in shown.out and max(map(len, shown.out.splitlines())) <= 80


@pytest.mark.parametrize("command", ["chat", "generate", "score", "plan", "quantize"])
def test_help_lists_every_scheme(cli: Callable, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = cli(command, "--help").out
    assert all(name in shown for name in SCHEMES)


def test_an_unknown_scheme_ends_with_two_lines_that_list_the_known_ones(cli: Callable, folder: Path) -> None:
    for words in (
        ("generate", "def ", "-m", folder),
        ("score", "def f", "-m", folder),
        ("chat", folder),
        ("plan", folder),
        ("quantize", folder),
    ):
        ended = cli(*words, "--quant", "q3_k")
        error, hint = ended.err.splitlines()
        assert ended.code == 2 and ended.out == "", words
        assert "'q3_k'" in error and all(name in hint for name in SCHEMES)


def test_score_runs_the_rounded_weights(cli: Callable, folder: Path) -> None:
    scored = cli("score", "def parse(self):", "-m", folder, "--quant", "int4", "--json").json
    expected = load(folder, quant="int4").score("def parse(self):")
    assert [token["logprob"] for token in scored["tokens"]] == pytest.approx(expected.logprobs)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--quant", "int4", "--out", "x.gguf"), "no words for int4"),
        (("--text", "nothing.txt"), "nothing.txt"),
        (("--out", "."), "original itself"),
    ],
)
def test_what_cannot_be_quantised_is_named(
    cli: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(folder)
    ended = cli("quantize", folder, *words)
    error, hint = ended.err.splitlines()
    assert ended.code == 2 and said in error and hint.startswith("hint: ")


def test_an_empty_text_measures_nothing(cli: Callable, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    ended = cli("quantize", folder, "--text", tmp_path / "empty", "--out", tmp_path / "q")
    assert ended.code == 2 and "nothing to measure" in ended.err and not (tmp_path / "q").exists()


def test_a_model_without_a_tokenizer_is_written_unmeasured(cli: Callable, folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("token*", "special*"))
    ended = cli("quantize", bare, "--out", tmp_path / "q", "--json")
    assert ended.code == 0 and "not measured" in ended.err and ended.json["kl"] is None
    assert (tmp_path / "q" / "model.safetensors").exists()
    assert cli("quantize", bare).code == 2


def test_another_programs_quantisation_is_refused_by_name(cli: Callable, folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)
    tree = json.loads((bad / "config.json").read_text())
    (bad / "config.json").write_text(json.dumps(tree | {"quantization_config": {"quant_method": "awq", "bits": 4}}))
    for words in (("inspect", bad), ("generate", "def f", "-m", bad), ("plan", bad), ("quantize", bad)):
        ended = cli(*words)
        assert ended.code == 2 and "awq" in ended.err.splitlines()[0], words


def test_an_original_that_does_not_fit_runs_in_bfloat16_and_that_is_said(
    cli: Callable, folder: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemwright.planner.measure.available", lambda: 1000)
    ended = cli("quantize", folder, "--quant", "q4_0", "--text", text, "--json")
    assert ended.json["original_dtype"] == "bfloat16" and "more than is free" in ended.err
    assert 0 < ended.json["kl"] < 1


def test_an_int8_cache_is_planned_and_run_wherever_it_is_asked_for(cli: Callable, folder: Path) -> None:
    plain, small = cli("plan", folder, "--json").json, cli("plan", folder, "--int8-cache", "--json").json
    assert small["int8_cache"] and small["cache"]["global"] < 0.6 * plain["cache"]["global"]
    assert plain["total"] > small["total"] and "in bytes" in cli("plan", folder, "--int8-cache").out
    scored = cli("score", "def parse(self):", "-m", folder, "--int8-cache", "--json").json
    expected = load(folder, int8_cache=True).score("def parse(self):")
    assert [token["logprob"] for token in scored["tokens"]] == pytest.approx(expected.logprobs)
    made = cli("generate", "def ", "-m", folder, "--int8-cache", *GREEDY, "--json").json
    assert tuple(made["ids"]) == load(folder, int8_cache=True).generate("def ", GREEDY_SAMPLING).ids


@pytest.mark.parametrize("command", ["chat", "bench"])
def test_an_int8_cache_can_be_talked_to_and_measured(
    cli: Callable, folder: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_bandwidth, "__defaults__", (3, 1 << 20))
    words = ("--prefill", "16", "--decode", "2", "--batch", "1", "--rounds", "1") if command == "bench" else ()
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hi\n"))
    ended = cli(command, folder, "--int8-cache", *words)
    assert ended.code == 0 and (command == "chat" or ", int8 cache" in ended.out)


@pytest.mark.parametrize("out", ["folder", "file.gguf"])
def test_a_file_of_another_kind_can_be_quantised(
    cli: Callable, folder: Path, text: Path, tmp_path: Path, out: str
) -> None:
    assert cli("convert", folder, "--out", tmp_path / "plain.gguf").code == 0
    made = cli("quantize", tmp_path / "plain.gguf", "--quant", "q4_0", "--out", tmp_path / out, "--text", text)
    assert made.code == 0, made.err
    ids = list(range(2, 60))
    assert torch.equal(load(tmp_path / out).logits(ids), load(folder, quant="q4_0").logits(ids))
    assert load(tmp_path / out).tokenizer is not None
