"""`--adapter NAME=FOLDER`, as people type it: the adapter stays beside the weights, and texts name it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import gemwright
from gemwright.lm import LM
from gemwright.loading import attach_lora, load_model, save_lora
from gemwright.lora import Lora

GREEDY = ("--temperature", "0", "--max-tokens", "8")
SAMPLING = gemwright.Sampling(temperature=0, max_tokens=8)
TEXT = "def parse(self):"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> dict[str, Path]:
    """Two adapters that change what the tiny model says."""
    found = {}
    for seed, name in enumerate(("red", "blue")):
        model, generator = load_model(tiny).model, torch.Generator().manual_seed(seed)
        settings = Lora(rank=4, alpha=8.0, targets=("q_proj", "down"), dropout=0.0, rslora=False)
        attach_lora(model, settings, generator)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if key.endswith("lora_b"):
                    parameter.normal_(generator=generator)
        found[name] = save_lora(model, tmp_path_factory.mktemp("adapters") / name)
    return found


@pytest.fixture(scope="module")
def many(tiny: Path, folders: dict[str, Path]) -> LM:
    """The tiny model with both beside its weights."""
    return gemwright.load(tiny, adapters=folders)


@pytest.fixture(scope="module")
def words(folders: dict[str, Path]) -> tuple[str, ...]:
    """Both as options."""
    return tuple(word for name, folder in folders.items() for word in ("--adapter", f"{name}={folder}"))


def test_generate_goes_on_with_the_adapter_beside_the_weights(
    cli: Callable, tiny: Path, many: LM, words: tuple[str, ...]
) -> None:
    tree = cli("generate", TEXT, "-m", tiny, *GREEDY, *words[:2], "--json").json
    assert tree["adapter"] == "red"
    assert tuple(tree["ids"]) == many.generate(TEXT, SAMPLING, adapter="red").ids != many.generate(TEXT, SAMPLING).ids
    shown = cli("generate", TEXT, "-m", tiny, *GREEDY, *words[:2]).out
    assert shown.removesuffix("\n") == tree["text"]
    assert "adapter" not in cli("generate", TEXT, "-m", tiny, *GREEDY, "--json").json


def test_score_reads_with_the_adapter_beside_the_weights(
    cli: Callable, tiny: Path, many: LM, words: tuple[str, ...]
) -> None:
    tree = cli("score", TEXT, "-m", tiny, *words[:2], "--json").json
    assert tree["adapter"] == "red"
    assert [token["logprob"] for token in tree["tokens"]] == pytest.approx(many.score(TEXT, adapter="red").logprobs)


def test_an_adapter_in_the_weights_bears_another_beside_them(
    cli: Callable, tiny: Path, folders: dict[str, Path], words: tuple[str, ...]
) -> None:
    both = gemwright.load(tiny, adapter=folders["blue"], adapters={"red": folders["red"]})
    tree = cli("score", TEXT, "-m", tiny, *words[:2], "--adapter", folders["blue"], "--json").json
    assert tree["logprob"] == pytest.approx(sum(both.score(TEXT, adapter="red").logprobs))


@pytest.mark.parametrize("command", ["generate", "score"])
def test_one_text_is_read_with_one_adapter(cli: Callable, tiny: Path, words: tuple[str, ...], command: str) -> None:
    ended = cli(command, TEXT, "-m", tiny, *words)
    assert ended.code == 2 and "not red and blue" in ended.err


def test_a_batch_s_rows_name_adapters(
    cli: Callable, tiny: Path, many: LM, words: tuple[str, ...], tmp_path: Path
) -> None:
    rows = [{"prompt": TEXT, "model": name, "max_tokens": 8, "temperature": 0} for name in ("red", "blue", "tiny")]
    (tmp_path / "in").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = cli("batch", tmp_path / "in", tmp_path / "out", "-m", tiny, *words)
    assert ended.code == 0, ended.err
    found = [json.loads(line)["response"]["body"] for line in (tmp_path / "out").read_text().splitlines()]
    expected = [many.generate(TEXT, SAMPLING, adapter=name).text for name in ("red", "blue", None)]
    assert [one["choices"][0]["text"] for one in found] == expected and len(set(expected)) == 3
    assert [one["model"] for one in found][:2] == ["red", "blue"]


@pytest.fixture
def say(cli: Callable, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Type lines at a chat with the tiny model."""

    def talk(*lines: str, words: tuple[str, ...]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode()), encoding="utf-8"))
        return cli("chat", tiny, *GREEDY, *words)

    return talk


def test_a_chat_begins_with_the_first_adapter_and_changes_on_demand(
    say: Callable, many: LM, words: tuple[str, ...]
) -> None:
    """Each reply is that of the adapter of its turn, which reads the whole conversation."""
    chat = many.chat(sampling=SAMPLING, adapter="red")
    expected = [chat.say("hello").text]
    for name in ("blue", None):
        chat.adapter = name
        expected.append(chat.say("hello").text)
        assert chat.last is not None and chat.last.usage.cached == 0
    ended = say("hello", "/adapter blue", "hello", "/stats", "/adapter", "hello", words=words)
    assert "adapter    blue" in ended.out
    assert ended.out.startswith(f"{expected[0]}\n{expected[1]}\n") and ended.out.endswith(f"{expected[2]}\n")
    assert expected[0] != many.chat(sampling=SAMPLING).say("hello").text


def test_a_chat_without_that_adapter_names_those_there_are(say: Callable, words: tuple[str, ...]) -> None:
    ended = say("/adapter green", "/stats", words=words)
    assert "no adapter is called 'green'" in ended.err and "there are: red, blue" in ended.err
    assert "adapter    red" in ended.out


def test_a_session_knows_its_adapter(say: Callable, words: tuple[str, ...], tmp_path: Path) -> None:
    session = ("--session", str(tmp_path / "talk"))
    assert say("hello", words=(*words[:2], *session)).code == 0
    assert "2 messages" in say("/exit", words=(*words[:2], *session)).err
    assert say("/exit", words=(*words[2:], *session)).code == 2
