"""chat, through a pipe and at a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gemwright.cli.chat import _Terminal
from gemwright.cli.conversation import Conversation
from gemwright.engine.chat import Transcript
from gemwright.errors import UserError
from gemwright.lm import load
from gemwright.text.template import BUILT_IN
from gemwright.text.turns import Message

ROOT = Path(__file__).resolve().parent.parent.parent
BRIEF = ("--max-tokens", "6", "--temperature", "0")


@pytest.fixture
def say(cli: Callable, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Type lines at a chat with the tiny model."""

    def talk(*lines: str | bytes, words: tuple[str, ...] = BRIEF, model: Path = tiny):
        data = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        return cli("chat", model, *words)

    return talk


def test_a_reply_goes_to_stdout_and_its_numbers_to_stderr(say: Callable) -> None:
    ended = say("hello")
    assert ended.code == 0 and ended.out.strip()
    assert "tokens/s" in ended.err and "cache" in ended.err and "of 256 tokens" in ended.err
    assert "never tuned" in ended.err


def test_help_names_every_command(say: Callable) -> None:
    shown = say("/help").out
    for command in ("/help", "/clear", "/system", "/adapter", "/save", "/load", "/stats", "/exit"):
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


def test_a_session_goes_on_where_it_was_left_without_reading(say: Callable, tmp_path: Path) -> None:
    words = (*BRIEF, "--session", str(tmp_path / "talk"))
    whole = say("hello", "and then", words=(*BRIEF, "--system", "Be brief.")).out
    first = say("hello", words=(*words, "--system", "Be brief."))
    second = say("and then", "/stats", words=words)
    assert first.out + second.out.split("messages ")[0] == whole
    assert "3 messages from" in second.err and "last turn  0 tokens known" not in second.out
    assert "its own instruction" in say(words=(*words, "--system", "Be kind.")).err


@pytest.mark.filterwarnings("default")
def test_a_damaged_session_is_named_and_goes_on(say: Callable, tmp_path: Path) -> None:
    file = tmp_path / "talk"
    words = (*BRIEF, "--session", str(file))
    whole = say("hello", "and then").out
    first = say("hello", words=words).out
    file.write_bytes(file.read_bytes()[:-1000])
    second = say("and then", words=words)
    assert "talk is no whole saved sequence" in second.err and second.code == 0
    assert first + second.out == whole


_KILLED = """
import os, signal, sys
from gemwright.cache import snapshot
from gemwright.cli import show

die = lambda: os.kill(os.getpid(), signal.SIGKILL)
write, say, left = snapshot.save_file, show.stream, 3

def torn(tensors, path, **words):
    global left
    write(tensors, path, **words)
    left -= 1
    if not left:
        os.truncate(path, path.stat().st_size // 2)
        die()

def cut(text):
    global left
    if left == 1:
        die()
    say(text)
    left -= text == "\\n"

if sys.argv.pop(1) == "writing":
    snapshot.save_file = torn
else:
    show.stream = cut
from gemwright.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("place", ["writing", "replying"])
def test_a_session_killed_in_its_third_turn_has_the_first_two(
    say: Callable, tiny: Path, tmp_path: Path, place: str
) -> None:
    """By SIGKILL, in the middle of the file that is being written, or of the reply."""
    words = (*BRIEF, "--session", str(tmp_path / "talk"))
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, place, "chat", str(tiny), "--threads", "1", *words],
        cwd=ROOT,
        input="hello\nand then\nonce more\n",
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    known = say(words=words)
    assert "4 messages from" in known.err and "no whole" not in known.err
    begun, whole = say("hello", "and then").out, say("hello", "and then", "once more").out
    assert begun + say("once more", words=words).out == whole


@pytest.mark.parametrize("name", ["nowhere/talk", "."])
def test_a_session_that_could_not_be_left_is_refused_at_once(say: Callable, tmp_path: Path, name: str) -> None:
    ended = say("hello", words=(*BRIEF, "--session", str(tmp_path / name)))
    assert ended.code == 2 and not ended.out


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


@pytest.mark.parametrize("word", ["/save", "/load"])
@pytest.mark.parametrize("name", [".", '""', "/", "..", "x" * 300, "file.py/y", "~nouser/x", "a\0b"])
def test_a_name_that_is_no_file_ends_no_conversation(
    say: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, name: str
) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    (tmp_path / "inner" / "file.py").write_text("mine")
    ended = say("hello", f"{word} {name}", "and then", "/save talk.json")
    assert ended.code == 0 and ended.err.count("error: ") == ended.err.count("hint: ") == 1
    assert len(json.loads(Path("talk.json").read_text())["messages"]) == 4
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file.py", "inner", "talk.json"]


@pytest.fixture
def talk(tiny: Path) -> Conversation:
    """A conversation of the tiny model with one turn in it."""
    begun = Conversation(load(tiny).engine)
    begun.restore(
        Transcript(system=None, messages=(Message("user", "a"), Message("model", "b")), ids=(2,), closed=False)
    )
    return begun


def test_names_and_words_that_utf8_cannot_hold_are_no_traceback(talk: Conversation, tmp_path: Path) -> None:
    for command in (f"/save {tmp_path}/\ud800", f"/load {tmp_path}/\ud800"):
        with pytest.raises(UserError):
            _Terminal(talk)._command(command)
    assert list(tmp_path.iterdir()) == []
    said = (Message("user", "\ud800 é"), Message("model", "b"))
    talk.restore(Transcript(system="\udfff", messages=said, ids=(2,), closed=False))
    talk.write(tmp_path / "talk.json")
    before = talk.transcript()
    talk.clear("other")
    talk.read(tmp_path / "talk.json")
    assert talk.transcript() == before and "é" in (tmp_path / "talk.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"9" * 5000, b""])
def test_a_file_that_no_save_wrote_is_refused(talk: Conversation, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "talk.json").write_bytes(data)
    before = talk.transcript()
    with pytest.raises(UserError, match="no saved conversation"):
        talk.read(tmp_path / "talk.json")
    assert talk.transcript() == before


def test_a_conversation_that_has_only_an_instruction_is_loaded_again(say: Callable, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    say("/system Be kind.", f"/save {file}")
    ended = say(f"/load {file}", f"/save {file}")
    assert "error" not in ended.err and json.loads(file.read_text())["system"] == "Be kind."


def test_bytes_that_are_no_text_are_read_as_replacement_characters(say: Callable, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    ended = say(b"caf\xe9", f"/save {file}")
    assert ended.code == 0 and ended.out.strip()
    assert json.loads(file.read_text())["messages"][0]["text"] == "caf\ufffd"


def _with(tiny: Path, folder: Path, name: str, text: str) -> Path:
    """The tiny model with another file in its folder."""
    shutil.copytree(tiny, folder)
    (folder / name).write_text(text)
    return folder


def test_a_model_whose_stop_ids_end_turns_is_taken_for_tuned(say: Callable, tiny: Path, tmp_path: Path) -> None:
    vocabulary = load(tiny).tokenizer
    assert vocabulary is not None
    for name, ends, tuned in (
        ("turns", [vocabulary.eos, vocabulary.end_of_turn], True),
        ("text", vocabulary.eos, False),
    ):
        model = _with(tiny, tmp_path / name, "generation_config.json", json.dumps({"eos_token_id": ends}))
        assert ("never tuned" not in say("/exit", model=model).err) == tuned


def test_a_model_with_a_layout_of_its_own_is_tuned_and_talks_in_it(say: Callable, tiny: Path, tmp_path: Path) -> None:
    own = BUILT_IN.replace("<end_of_turn>\\n", "<end_of_turn>\\n\\n")
    assert own != BUILT_IN
    model = _with(tiny, tmp_path / "own", "chat_template.jinja", own)
    file = tmp_path / "talk.json"
    assert "never tuned" not in say("hello", f"/save {file}", model=model).err
    lm = load(model)
    assert lm.template is not None and lm.tokenizer is not None
    prompt = lm.template.render([Message("user", "hello")], lm.tokenizer).ids
    assert json.loads(file.read_text())["ids"][: len(prompt)] == prompt
    same = _with(tiny, tmp_path / "same", "chat_template.jinja", "{# Gemma's #}" + BUILT_IN)
    assert "never tuned" not in say("/exit", model=same).err and load(same).template is None


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


def test_ctrl_c_stops_a_reply_and_not_the_program(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "endless")  # a reply that goes on however late the interrupt comes
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 100_000}), encoding="utf-8")
    terminal, inside = pty.openpty()
    words = ("-m", "gemwright", "chat", str(folder), "--threads", "1", "--temperature", "0", "--speculate", "off")
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb", "HF_HUB_OFFLINE": "1"}
    program = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        # Where the tests run in a shell's background they ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        read_until(terminal, "> ")
        os.write(terminal, b"hello\n")
        read_until(terminal, "hello")
        begun = b""
        while len(begun) < 40:  # more than the end of the typed line: the reply has begun
            begun += os.read(terminal, 64)
        program.send_signal(signal.SIGINT)
        said = read_until(terminal, "of 100000 tokens")
        assert "tokens/s" in said.partition("stopped; ")[2]
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
