"""inspect, new, convert, pull and plan, as people type them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from gemwright.arch.presets import preset
from gemwright.loading import load_model
from gemwright.planner.fit import plan
from gemwright.text.tokenizer import Tokenizer
from gemwright.weights import torch_ckpt
from gemwright.weights.names import GEMMA_PYTORCH, table

SMALL = ("--set", "width=32", "--set", "depth=2", "--set", "hidden=32", "--set", "vocab=300", "--set", "head_dim=16")


@pytest.mark.parametrize("name", ["gemma-7b", "gemma-2-27b", "gemma-3-27b", "recurrentgemma-2b"])
def test_a_published_size_can_be_looked_at_within_80_columns(cli: Callable, name: str) -> None:
    shown = cli("inspect", name)
    assert shown.code == 0 and max(map(len, shown.out.splitlines())) <= 80
    strip = "".join({"local": "░", "global": "█", "recurrent": "≈"}[kind] for kind in preset(name).kinds)
    assert strip in shown.out
    assert "no files" in shown.err


def test_inspect_tells_a_folders_files_and_checks_them(cli: Callable, tiny: Path) -> None:
    shown = cli("inspect", tiny).out
    assert max(map(len, shown.splitlines())) <= 80
    for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer.model"):
        assert any(line.split()[0] == file and "✓" in line for line in shown.splitlines() if line.strip())
    tree = cli("inspect", tiny, "--json").json
    assert tree["folder"] == str(tiny) and tree["dtypes"] == ["float32"]
    assert tree["parameters"]["total"] == sum(tree["parameters"].values()) / 2
    assert tree["kinds"] == ["local"] * 5 + ["global", "local"]


def damaged(tiny: Path, folder: Path, file: str, change: Callable[[bytes], bytes]) -> Path:
    folder.mkdir()
    for path in tiny.iterdir():
        data = path.read_bytes()
        (folder / path.name).write_bytes(change(data) if path.name == file else data)
    return folder


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("model.safetensors", lambda data: data[:-1]),
        ("model.safetensors", lambda data: (1 << 62).to_bytes(8, "little") + data[8:]),
        ("model.safetensors", lambda data: data.replace(b"q_proj", b"Q_proj")),
        ("config.json", lambda data: data[:50]),
        ("config.json", lambda data: data.replace(b"gemma3", b"llama3")),
        ("tokenizer.json", lambda data: data[: len(data) // 2]),
        ("tokenizer.model", lambda data: data[: len(data) // 2]),
        ("tokenizer_config.json", lambda data: data[:-5]),
    ],
)
def test_a_damaged_file_is_named(
    cli: Callable, tiny: Path, tmp_path: Path, file: str, change: Callable[[bytes], bytes]
) -> None:
    ended = cli("inspect", damaged(tiny, tmp_path / "bad", file, change))
    assert ended.code == 2 and ended.out == ""
    error, hint = ended.err.splitlines()
    assert error.startswith("error: ") and str(tmp_path) in error and hint.startswith("hint: ")


def test_two_vocabularies_in_one_folder_are_refused(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    def swapped(data: bytes) -> bytes:
        tree = json.loads(data)
        vocab = tree["model"]["vocab"]
        first, second = list(vocab)[-2:]
        vocab[first], vocab[second] = vocab[second], vocab[first]
        return json.dumps(tree).encode()

    ended = cli("inspect", damaged(tiny, tmp_path / "bad", "tokenizer.json", swapped))
    assert ended.code == 2 and "two vocabularies" in ended.err


def test_new_is_decided_by_its_seed(cli: Callable, tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert cli("new", "gemma-3-270m", *SMALL, "--seed", seed, "--out", tmp_path / name).code == 0
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "breadth=3"), "breadth"),
        (("--set", "width=wide"), "width=wide"),
        (("--set", "width"), "SIZE=VALUE"),
        (("--set", "width=0"), "width is 0"),
        (("--dtype", "float16"), "float16"),
        (("--tokenizer", "/nowhere"), "/nowhere"),
        (("--tokenizer", "x" * 300), "looked up"),
        (("--set", "vocab=1000000000000"), "gemwright plan"),
        (("--set", "vocab=1000000000", "--set", "width=1000000000"), "1,000,000,000 rows"),
        (("--set", f"vocab={10**30}"), f"vocab={10**30}"),
        (("--set", "depth=1000000000"), "depth=1000000000"),
        (("--seed", str(2**64)), "--seed"),
        (("--seed", "-1"), "--seed"),
    ],
)
def test_new_refuses_what_makes_no_model(cli: Callable, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    ended = cli("new", "gemma-3-270m", *SMALL, *words, "--out", tmp_path / "out")
    assert ended.code == 2 and said in ended.err
    assert not (tmp_path / "out").exists()


def test_new_takes_no_tokenizer_that_is_larger_than_its_table(cli: Callable, vocabulary: Path, tmp_path: Path) -> None:
    ended = cli("new", "gemma-3-270m", *SMALL, "--tokenizer", vocabulary, "--out", tmp_path / "out")
    assert ended.code == 2 and "800 pieces" in ended.err


@pytest.mark.parametrize("name", ["gemma-2b", "gemma-2-2b", "gemma-3-1b", "recurrentgemma-2b"])
def test_a_fresh_model_of_each_family_passes_inspection(cli: Callable, tmp_path: Path, name: str) -> None:
    sizes = [*SMALL, "--set", "heads=2", "--set", "kv_heads=1", "--set", "depth=4"]
    if name.startswith("recurrent"):
        sizes += ["--set", "recurrent_width=32", "--set", "gate_blocks=2"]
    assert cli("new", name, *sizes, "--out", tmp_path / name).code == 0
    tree = cli("inspect", tmp_path / name, "--json").json
    assert len(tree["kinds"]) == 4 and tree["tokenizer"] is None


def test_convert_gives_back_the_same_bytes(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    assert cli("convert", tiny, "--out", tmp_path / "same").code == 0
    assert {path.name: path.read_bytes() for path in tiny.iterdir() if path.name != "config.json"} == {
        path.name: path.read_bytes() for path in (tmp_path / "same").iterdir() if path.name != "config.json"
    }
    configs = [json.loads((folder / "config.json").read_text()) for folder in (tiny, tmp_path / "same")]
    assert configs[0] == configs[1]


def test_convert_gives_back_mixed_dtypes_and_says_what_it_rounded(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    wide = safetensors.torch.load_file(tiny / "model.safetensors")
    folder = damaged(tiny, tmp_path / "mixed", "", bytes)
    mixed = {name: value.add(0.1) if "norm" in name else value.bfloat16() for name, value in wide.items()}
    safetensors.torch.save_file(mixed, folder / "model.safetensors", metadata={"format": "pt"})
    ended = cli("convert", folder, "--out", tmp_path / "same")
    assert ended.code == 0 and "rounded to bfloat16" in ended.err
    assert (tmp_path / "same" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def torch_form(tiny: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """The tiny model's tensors as a .ckpt file holds them, and its tokenizer beside them in the folder."""
    loaded = load_model(tiny)
    monkeypatch.setattr(torch_ckpt, "_spec", lambda *_: loaded.spec)  # its shapes are those of no published model
    names = table(loaded.spec.family, "model.", GEMMA_PYTORCH)
    tree = {names.theirs(name): value.detach() for name, value in loaded.model.named_parameters()}
    tree["embedder.weight"] = tree.pop("model.embed_tokens.weight")
    for index in range(len(loaded.spec.layers)):
        here = f"model.layers.{index}.self_attn."
        tree[here + "qkv_proj.weight"] = torch.cat([tree.pop(f"{here}{part}_proj.weight") for part in "qkv"])
    for name in ("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).write_bytes((tiny / name).read_bytes())
    return tree


def test_a_converted_ckpt_has_its_tokenizer_whole_and_states_how_a_turn_ends(
    cli: Callable, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(torch_form(tiny, tmp_path, monkeypatch), tmp_path / "model.ckpt")
    out = tmp_path / "out"
    assert cli("convert", tmp_path / "model.ckpt", "--out", out).code == 0
    assert (out / "model.safetensors").read_bytes() == (tiny / "model.safetensors").read_bytes()
    assert (out / "tokenizer_config.json").read_bytes() == (tiny / "tokenizer_config.json").read_bytes()
    tokenizer = Tokenizer.load(out)
    stated = json.loads((out / "generation_config.json").read_text())["eos_token_id"]
    assert stated == [tokenizer.eos, tokenizer.end_of_turn]


def test_inspect_lists_the_shards_of_a_torch_folder(
    cli: Callable, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = torch_form(tiny, tmp_path, monkeypatch)
    where = {name: f"pytorch_model-{index % 2 + 1}.bin" for index, name in enumerate(tree)}
    for shard in set(where.values()):
        torch.save({name: value for name, value in tree.items() if where[name] == shard}, tmp_path / shard)
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    files = {file["name"] for file in cli("inspect", tmp_path, "--json").json["files"]}
    assert {"pytorch_model-1.bin", "pytorch_model-2.bin", "pytorch_model.bin.index.json", "tokenizer.json"} <= files
    assert cli("plan", tmp_path, "--json").json["dtype"] == "float32"  # as the files are


def test_convert_halves_the_weights(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    assert cli("convert", tiny, "--out", tmp_path / "half", "--dtype", "bfloat16").code == 0
    assert cli("inspect", tmp_path / "half", "--json").json["dtypes"] == ["bfloat16"]


def test_convert_leaves_a_checkpoint_alone_unless_asked(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    words = ("convert", tiny, "--out", tmp_path / "there")
    assert [cli(*words).code, cli(*words).code, cli(*words, "--overwrite").code] == [0, 2, 0]


@pytest.mark.parametrize(("name", "said"), [("gemma-3-1bb", "gemma-3-1b"), ("google/gemma-3-1b-it", "reached")])
def test_pull_says_why_it_cannot(cli: Callable, tmp_path: Path, name: str, said: str) -> None:
    ended = cli("pull", name, "--out", tmp_path / "out")
    assert ended.code == 2 and said in ended.err


def test_plan_shows_its_rows_within_80_columns(cli: Callable) -> None:
    shown = cli("plan", "gemma-3-4b", "--context", "32768", "--memory", "16G")
    assert shown.code == 0 and max(map(len, shown.out.splitlines())) <= 80
    for row in ("embedding table", "global layers", "local layers", "activations", "logits", "runtime", "scratch"):
        assert row in shown.out
    assert "not loaded" in shown.out and "longest context" in shown.out


def test_plan_counts_a_draft_and_its_guesses_within_80_columns(cli: Callable) -> None:
    shown = cli("plan", "gemma-3-4b", "--draft", "gemma-3-270m", "--context", "8192", "--sequences", "4")
    assert shown.code == 0 and max(map(len, shown.out.splitlines())) <= 80
    assert "draft: weights" in shown.out and "draft: cache" in shown.out and "32 guesses" in shown.out


def test_plan_in_json_is_the_planners(cli: Callable) -> None:
    tree = cli("plan", "gemma-3-270m", "--context", "4096", "--batch", "2", "--memory", "900M", "--json").json
    assert tree == plan("gemma-3-270m", context=4096, batch=2, memory=900 << 20).to_json()


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--memory", "much"), "much"), (("--context", "999999"), "32768"), (("--dtype", "int4"), "int4")],
)
def test_plan_refuses_what_it_cannot_read(cli: Callable, words: tuple[str, ...], said: str) -> None:
    ended = cli("plan", "gemma-3-1b", *words)
    assert ended.code == 2 and said in ended.err
