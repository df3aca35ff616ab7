"""lora merge, lora doctor, and --adapter wherever a model is run, as people type them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

import gemwright
from gemwright.loading import attach_lora, load_model, save_lora
from gemwright.lora import Lora

GREEDY = ("--temperature", "0", "--max-tokens", "8")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """An adapter on queries and down projections that changes what the tiny model says."""
    return made(tiny, tmp_path_factory.mktemp("adapters") / "loud", 1.0)


def made(model: Path, folder: Path, size: float) -> Path:
    loaded = load_model(model).model
    settings = Lora(rank=4, alpha=8.0, targets=("q_proj", "down"), dropout=0.0, rslora=False)
    generator = torch.Generator().manual_seed(1)
    attach_lora(loaded, settings, generator)
    with torch.no_grad():
        for name, parameter in loaded.named_parameters():
            if name.endswith("lora_b"):
                parameter.normal_(0.0, 1.0, generator=generator).mul_(size)
    return save_lora(loaded, folder, base="tiny")


def test_a_merged_folder_answers_as_the_adapter_does(cli: Callable, tiny: Path, adapter: Path, tmp_path: Path) -> None:
    ended = cli("lora", "merge", tiny, adapter, "--out", tmp_path / "merged")
    assert ended.code == 0 and "14 adapted matrices" in ended.out and "14 matrices" in ended.err
    ids = list(range(2, 60))
    with_adapter = gemwright.load(tiny, adapter=adapter)
    assert torch.equal(gemwright.load(tmp_path / "merged").logits(ids), with_adapter.logits(ids))
    assert not torch.allclose(gemwright.load(tiny).logits(ids), with_adapter.logits(ids), atol=1e-2)
    assert {path.name for path in (tmp_path / "merged").iterdir()} == {path.name for path in tiny.iterdir()}


def test_merging_changes_the_named_matrices_alone(cli: Callable, tiny: Path, adapter: Path, tmp_path: Path) -> None:
    tree = cli("lora", "merge", tiny, adapter, "--out", tmp_path / "merged", "--json").json
    assert tree["modules"] == 14 and tree["folder"] == str(tmp_path / "merged")
    before, after = (safetensors.torch.load_file(path / "model.safetensors") for path in (tiny, tmp_path / "merged"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys() and len(changed) == 14
    assert all(name.endswith(("q_proj.weight", "down_proj.weight")) for name in changed)


def test_a_gguf_file_is_merged_into_a_folder(cli: Callable, tiny: Path, adapter: Path, tmp_path: Path) -> None:
    assert cli("convert", tiny, "--out", tmp_path / "tiny.gguf").code == 0
    ended = cli("lora", "merge", tmp_path / "tiny.gguf", adapter, "--out", tmp_path / "merged")
    assert ended.code == 0, ended.err
    merged, expected = gemwright.load(tmp_path / "merged"), gemwright.load(tiny, adapter=adapter)
    assert merged.tokenizer is not None
    assert torch.allclose(merged.logits([2, 30, 40]), expected.logits([2, 30, 40]), atol=1e-4)


def test_generate_score_and_chat_take_an_adapter(cli: Callable, tiny: Path, adapter: Path, tmp_path: Path) -> None:
    assert cli("lora", "merge", tiny, adapter, "--out", tmp_path / "merged").code == 0
    for words in (("generate", "def ", *GREEDY), ("score", "def parse(self):")):
        plain = cli(*words, "-m", tiny)
        added = cli(*words, "-m", tiny, "--adapter", adapter)
        assert added.code == 0 and "14 matrices have the adapter" in added.err
        assert added.out == cli(*words, "-m", tmp_path / "merged").out != plain.out
    assert "adapter" in cli("chat", "--help").out


def test_the_doctor_shows_the_size_of_every_delta(cli: Callable, tiny: Path, adapter: Path) -> None:
    shown = cli("lora", "doctor", tiny, adapter)
    assert shown.code == 0 and max(map(len, shown.out.splitlines())) <= 80
    assert "layers.6.mixer.query" in shown.out
    assert "14 matrices adapted, 0 of them unchanged; made for tiny" in shown.out
    tree = cli("lora", "doctor", tiny, adapter, "--json").json
    tensors = safetensors.torch.load_file(adapter / "adapter_model.safetensors")
    name = "base_model.model.model.layers.3.mlp.down_proj.lora_{}.weight"
    dense = 2.0 * tensors[name.format("B")].double() @ tensors[name.format("A")].double()
    (row,) = [row for row in tree["modules"] if row["module"] == "layers.3.mlp.down"]
    assert row["delta"] == pytest.approx(float(dense.norm())) and row["rank"] == 4 and row["flag"] is None
    weight = load_model(tiny).model.get_parameter("layers.3.mlp.down.weight").detach()
    assert row["weight"] == pytest.approx(float(weight.double().norm()))


def test_an_adapter_that_does_nothing_is_a_finding(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    idle = made(tiny, tmp_path / "idle", 0.0)
    shown = cli("lora", "doctor", tiny, idle)
    assert shown.code == 1 and shown.out.count("does nothing") == 14 and "changes nothing" in shown.err
    assert "changes nothing" in cli("generate", "def ", "-m", tiny, "--adapter", idle, *GREEDY).err


@pytest.mark.parametrize(("value", "code", "flag"), [(0.0, 0, "does nothing"), (float("nan"), 1, "not finite")])
def test_a_module_that_does_nothing_or_is_broken_is_flagged(
    cli: Callable, tiny: Path, tmp_path: Path, value: float, code: int, flag: str
) -> None:
    folder = made(tiny, tmp_path / "one", 1.0)
    tensors = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    tensors["base_model.model.model.layers.3.mlp.down_proj.lora_B.weight"].fill_(value)
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors")
    tree = cli("lora", "doctor", tiny, folder, "--json")
    assert tree.code == code
    assert {row["module"]: row["flag"] for row in tree.json["modules"] if row["flag"]} == {"layers.3.mlp.down": flag}
    assert cli("lora", "doctor", tiny, folder).out.count(flag) == 1


def test_an_adapter_that_does_not_fit_ends_with_two_lines_and_the_nearest_names(
    cli: Callable, tiny: Path, adapter: Path, tmp_path: Path
) -> None:
    tensors = safetensors.torch.load_file(adapter / "adapter_model.safetensors")
    renamed = {name.replace("q_proj", "qproj"): value for name, value in tensors.items()}
    bad = tmp_path / "bad"
    bad.mkdir()
    safetensors.torch.save_file(renamed, bad / "adapter_model.safetensors")
    (bad / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    for words in (
        ("lora", "doctor", tiny, bad),
        ("lora", "merge", tiny, bad, "--out", tmp_path / "out"),
        ("generate", "def ", "-m", tiny, "--adapter", bad),
        ("score", "def f", "-m", tiny, "--adapter", bad),
        ("chat", tiny, "--adapter", bad),
    ):
        ended = cli(*words)
        error, hint = ended.err.splitlines()
        assert ended.code == 2 and ended.out == "" and not (tmp_path / "out").exists(), words
        assert "qproj" in error and "14 tensors" in error and "may be" in hint and "q_proj" in hint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{tiny}", "nothing", "--out", "out"), "nothing"),
        (("{tiny}", "{tiny}", "--out", "out"), "adapter_config.json"),
        (("{tiny}", "{adapter}", "--out", "out.gguf"), "GGUF"),
        (("{tiny}", "{adapter}", "--out", "{tiny}"), "not empty"),
        (("{adapter}", "{adapter}", "--out", "out"), "config.json"),
    ],
)
def test_what_cannot_be_merged_is_named(
    cli: Callable, tiny: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = cli("lora", "merge", *(word.format(tiny=tiny, adapter=adapter) for word in words))
    error, hint = [line for line in ended.err.splitlines() if not line.startswith("note")]
    assert ended.code == 2 and said in error and hint.startswith("hint: ")


def test_an_adapter_is_added_before_the_weights_are_rounded(cli: Callable, tiny: Path, adapter: Path) -> None:
    tree = cli("score", "def parse(self):", "-m", tiny, "--adapter", adapter, "--dtype", "bfloat16", "--json").json
    expected = gemwright.load(tiny, dtype="bfloat16", adapter=adapter).score("def parse(self):")
    assert [token["logprob"] for token in tree["tokens"]] == pytest.approx(expected.logprobs)
