"""A checkpoint that is damaged, foreign or impossible is refused by every command that reads one, and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemwright.loading import load_model
from gemwright.weights.save import save

LINEAR = {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}


def _changed(tiny: Path, folder: Path, changes: dict[str, Any]) -> Path:
    shutil.copytree(tiny, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def _commands(folder: Path, out: Path) -> list[tuple[str | Path, ...]]:
    return [
        ("inspect", folder),
        ("score", "def f", "--model", folder),
        ("generate", "def f", "--model", folder),
        ("convert", folder, "--out", out),
        ("plan", folder),
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": -64}, "hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"sliding_window": "wide"}, "sliding_window"),
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "llama"),
        ({"rope_parameters": {"full_attention": LINEAR | {"rope_type": "yarn"}}}, "yarn"),
        ({"rope_parameters": None, "rope_scaling": LINEAR | {"rope_type": "dynamic"}}, "dynamic"),
    ],
)
def test_an_impossible_config_ends_with_two_lines_that_name_it(
    cli: Callable, tiny: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    folder = _changed(tiny, tmp_path / "bad", changes)
    for words in _commands(folder, tmp_path / "out"):
        ended = cli(*words)
        error, hint = ended.err.splitlines()
        assert ended.code == 2 and ended.out == "", words
        assert error.startswith("error: ") and said in error and hint.startswith("hint: "), words
    assert not (tmp_path / "out").exists()


def test_a_missing_shard_is_named(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    loaded = load_model(tiny)
    folder = save(loaded.model, tmp_path / "sharded", max_shard_bytes=200_000)
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert cli("inspect", folder).code == 0
    shards[1].unlink()
    for words in _commands(folder, tmp_path / "out"):
        ended = cli(*words)
        assert ended.code == 2 and shards[1].name in ended.err.splitlines()[0], words


@pytest.mark.parametrize("wrong", ["~no-such-user-here/x", "x" * 300], ids=["no such user", "too long"])
@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "WRONG"),
        ("plan", "WRONG"),
        ("score", "def f", "--model", "WRONG"),
        ("tokenizer", "train", "WRONG", "--out", "OUT"),
        ("tokenizer", "train", __file__, "--out", "WRONG"),
        ("convert", "TINY", "--out", "WRONG"),
        ("convert", "WRONG", "--out", "OUT"),
        ("new", "gemma-3-270m", "--set", "width=8", "--set", "depth=1", "--set", "vocab=64", "--out", "WRONG"),
        ("pull", "gemma-3-1b-it", "--out", "WRONG"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_path_that_cannot_be_looked_up_is_a_mistake_of_two_lines(
    cli: Callable, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], wrong: str
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = {"WRONG": wrong, "OUT": str(tmp_path / "out"), "TINY": str(tiny)}
    ended = cli(*(typed.get(word, word) for word in words))
    error, hint = ended.err.splitlines()
    assert ended.code == 2 and error.startswith("error: ") and wrong[:20] in error and hint.startswith("hint: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["inspect", "plan"])
def test_a_name_of_someone_elses_is_no_published_size(cli: Callable, command: str) -> None:
    ended = cli(command, "someone/gemma-3-4b")
    assert ended.code == 2 and "someone/gemma-3-4b" in ended.err and "pull" in ended.err


@pytest.mark.parametrize("command", ["inspect", "plan", "convert"])
def test_a_wrong_path_says_so(cli: Callable, tmp_path: Path, command: str) -> None:
    out = ("--out", tmp_path / "out") if command == "convert" else ()
    ended = cli(command, tmp_path / "nowhere", *out)
    assert ended.code == 2 and "nowhere" in ended.err and "hint: " in ended.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:-1], "model.safetensors"),
        (lambda data: (1 << 62).to_bytes(8, "little") + data[8:], "model.safetensors"),
        (lambda data: data.replace(b"q_proj", b"Q_proj"), "Q_proj"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\n", "model.safetensors"),
    ],
)
def test_damaged_weights_are_named_by_whoever_reads_them(
    cli: Callable, tiny: Path, tmp_path: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    folder = tmp_path / "bad"
    shutil.copytree(tiny, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(change(weights.read_bytes()))
    for words in _commands(folder, tmp_path / "out")[:4]:  # the plan reads no weights
        ended = cli(*words)
        error, hint = ended.err.splitlines()
        assert ended.code == 2 and error.startswith("error: ") and said in error, words
        assert hint.startswith("hint: ")
    assert not (tmp_path / "out").exists()
