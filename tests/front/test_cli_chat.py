"""chat, through a pipe and at a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BRIEF = ("--max-tokens", "6", "--temperature", "0")


@pytest.fixture
def say(cli: Callable, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Type lines at a chat with the tiny model."""

    def talk(*lines: str, words: tuple[str, ...] = BRIEF):
        text = "".join(f"{line}\n" for line in lines)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))
        return cli("chat", tiny, *words)

    return talk


def test_a_reply_goes_to_stdout_and_its_numbers_to_stderr(say: Callable) -> None:
    ended = say("hello")
    assert ended.code == 0 and ended.out.strip()
    assert "tokens/s" in ended.err and "cache" in ended.err and "of 256 tokens" in ended.err
    assert "never tuned" in ended.err


def test_help_names_every_command(say: Callable) -> None:
    shown = say("/help").out
    for command in ("/help", "/clear", "/system", "/save", "/load", "/stats", "/exit"):
        assert command in shown


def test_exit_leaves_the_rest_unread(say: Callable) -> None:
    assert say("/exit", "hello").out == ""


def test_a_backslash_goes_on_in_the_next_line(say: Callable, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    say("one \\", "two", f"/save {file}")
    assert json.loads(file.read_text())["messages"][0] == {"role": "user", "text": "one \ntwo"}


def test_a_saved_conversation_goes_on_as_if_never_left(say: Callable, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    whole = say("hello", "and then", words=(*BRIEF, "--system", "Be brief.")).out
    first = say("hello", f"/save {file}", words=(*BRIEF, "--system", "Be brief.")).out
    second = say(f"/load {file}", "and then").out
    assert first + second == whole


def test_clear_forgets(say: Callable) -> None:
    first, again = say("hello", "/clear", "hello").out.splitlines()
    assert first == again


def test_system_begins_anew(say: Callable, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    say("hello", "/system Be kind.", f"/save {file}")
    tree = json.loads(file.read_text())
    assert tree["system"] == "Be kind." and tree["messages"] == [] and tree["ids"] == []


def test_a_mistake_ends_no_conversation(say: Callable, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    ended = say("/nonsense", "/save", "/load /nowhere.json", f"/load {tmp_path / 'other.json'}", "hello")
    assert ended.code == 0 and ended.out.strip()
    assert ended.err.count("error: ") == 4 and ended.err.count("hint: ") == 4


def test_a_conversation_of_another_tokenizer_is_refused(say: Callable, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    say("hello", f"/save {file}")
    tree = json.loads(file.read_text())
    file.write_text(json.dumps(tree | {"tokenizer": "another"}))
    assert "another tokenizer" in say(f"/load {file}").err


def test_a_full_context_says_what_to_do(say: Callable) -> None:
    ended = say("word " * 300, "hello")
    assert "256" in ended.err and "/clear" in ended.err
    assert ended.out.strip()  # the next message fits again


def read_until(terminal: int, mark: str, seconds: float = 60) -> str:
    """What a program writes to its terminal, up to a mark."""
    seen, end = b"", time.monotonic() + seconds
    while mark.encode() not in seen:
        assert time.monotonic() < end, seen.decode(errors="replace")
        seen += os.read(terminal, 4096)
    return seen.decode(errors="replace")


def test_ctrl_c_stops_a_reply_and_not_the_program(tiny: Path) -> None:
    terminal, inside = pty.openpty()
    words = ("-m", "gemwright", "chat", str(tiny), "--threads", "1", "--seed", "4")
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb", "HF_HUB_OFFLINE": "1"}
    program = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    )
    try:
        read_until(terminal, "> ")
        os.write(terminal, b"hello\n")
        read_until(terminal, "hello")
        begun = b""
        while len(begun) < 40:  # more than the end of the typed line: the reply has begun
            begun += os.read(terminal, 64)
        program.send_signal(signal.SIGINT)
        assert "tokens/s" in read_until(terminal, "of 256 tokens").partition("stopped; ")[2]
        assert program.poll() is None
        os.write(terminal, b"/stats\n")
        assert "messages" in read_until(terminal, "ended by")
        os.write(terminal, b"/exit\n")
        assert program.wait(30) == 0
    finally:
        program.kill()
        program.wait()
        os.close(inside)
        os.close(terminal)
