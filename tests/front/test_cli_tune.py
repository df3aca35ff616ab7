"""tune, as people type it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

SHORT = ("--set", "step.tokens=256", "--set", "optim.rate=1e-3")


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello yourself"}]
    path.write_text("".join(json.dumps({"messages": turns}) + "\n" for _ in range(12)), encoding="utf-8")
    return path


def test_a_tuned_model_is_a_folder_that_answers(cli: Callable, tiny: Path, chats: Path, tmp_path: Path) -> None:
    ended = cli("tune", tiny, chats, "--out", tmp_path / "run", "--epochs", "2", *SHORT)
    assert ended.code == 0, ended.err
    assert ended.out.strip() == str(tmp_path / "run" / "model")
    assert cli("generate", "def", "--model", tmp_path / "run" / "model", "--max-tokens", "4").code == 0


def test_an_adapter_is_taken_by_the_other_commands(cli: Callable, tiny: Path, chats: Path, tmp_path: Path) -> None:
    tree = cli("tune", tiny, chats, "--out", tmp_path / "run", "--lora", "4", "--json", *SHORT).json
    assert tree["finished"] and tree["folder"] == str(tmp_path / "run" / "adapter")
    assert cli("lora", "doctor", tiny, tree["folder"]).code == 0
    ended = cli("generate", "def", "--model", tiny, "--adapter", tree["folder"], "--max-tokens", "4")
    assert ended.code == 0 and "have the adapter" in ended.err


def test_malformed_conversations_stop_it_or_are_counted(cli: Callable, tiny: Path, chats: Path, tmp_path: Path) -> None:
    with chats.open("a", encoding="utf-8") as file:
        file.write('{"messages": [{"role": "assistant", "content": "I begin"}]}\n')
    ended = cli("tune", tiny, chats, "--out", tmp_path / "one", *SHORT)
    assert ended.code == 2 and "line 13" in ended.err and not (tmp_path / "one" / "checkpoints").exists()
    ended = cli("tune", tiny, chats, "--out", tmp_path / "two", "--skip-broken", *SHORT)
    assert ended.code == 0, ended.err
    report = json.loads((tmp_path / "two" / "tokens" / "report.json").read_text(encoding="utf-8"))
    assert sum(sum(part["dropped"].values()) for part in report.values()) == 1


def test_mistakes_say_what_to_do(cli: Callable, tiny: Path, chats: Path, tmp_path: Path) -> None:
    for words, said in (
        ((tiny, tmp_path / "none.jsonl"), "none.jsonl"),
        ((tmp_path / "none", chats), "does not exist"),
        ((tiny, chats, "--teacher", "./none"), "does not exist"),
        ((tiny, chats, "--set", "optim.speed=1"), "no field"),
        ((tiny, chats, "--epochs", "0"), "no epochs"),
    ):
        ended = cli("tune", *words, "--out", tmp_path / "run", *SHORT)
        assert ended.code == 2 and said in ended.err, ended.err
        assert len(ended.err.strip().splitlines()) >= 2
