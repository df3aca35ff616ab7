"""What the README tells people to type: every line parses, and those for the embedded model run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
RUNNABLE = {"inspect", "plan", "generate"}  # commands whose lines are run and not only parsed


@cache
def command_line() -> Any:
    import typer

    return typer.main.get_command(import_module("gemwright.cli.main").app)


def readme_lines() -> list[str]:
    """The commands of the README's ```console blocks, without their prompts."""
    readme = ROOT / "README.md"
    text = readme.read_text("utf-8") if readme.exists() else ""
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line[2:].strip() for line in lines if line.startswith("$ ")]


def words_of(line: str) -> list[str]:
    """A console line's words up to the first pipe, redirection, semicolon or comment."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.wordchars += ":=@,[]{}%+^!"
    taken: list[str] = []
    for word in lexer:
        if word and set(word) <= set("|<>;&()"):
            break
        taken.append(word)
    return taken


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words after `gemwright` name, and the words that are left for it."""
    command = command_line()
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def complaint(words: list[str]) -> str:
    """Why the command line would refuse these words; empty if it would not."""
    command, rest = find_command(words)
    options = {opt: one for one in command.params for opt in (*one.opts, *one.secondary_opts)}
    places = [one for one in command.params if one.param_type_name == "argument"]
    given = 0
    while rest:
        word, *rest = rest
        if not word.startswith("-") or word == "-":
            given += 1
            continue
        flag, equals, _ = word.partition("=")
        if flag == "--help":
            return ""
        if flag not in options:
            return f"{command.name} has no {flag}"
        if not (options[flag].is_flag or options[flag].count or equals):
            if not rest or rest[0].startswith("--"):
                return f"{flag} of {command.name} wants a value"
            rest = rest[options[flag].nargs :]
    if getattr(command, "commands", None) and given:
        return f"{command.name} has no such command: {words}"
    needed = sum(one.required for one in places)
    most = float("inf") if any(one.nargs == -1 for one in places) else len(places)
    return "" if needed <= given <= most else f"{command.name}: {given} arguments, {needed} to {most} wanted"


def runnable(line: str) -> bool:
    """Whether a line runs offline with what the package ships: no other model, no file, no pipe."""
    words = line.split()
    foreign = any(mark in line for mark in ("/", "|", ">", "--model", "--help"))
    return len(words) > 1 and words[0] == "gemwright" and words[1] in RUNNABLE and not foreign


def test_two_commands_set_everything_up() -> None:
    assert {"make demo", "make test"} <= set(readme_lines())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gemwright nonsense", "no such command"),
        ("gemwright generate --no-such-flag x", "no --no-such-flag"),
        ("gemwright generate one two three four", "arguments"),
        ("gemwright generate 'def ' | head", ""),
    ],
)
def test_the_judge_of_lines_refuses_what_the_command_line_refuses(line: str, said: str) -> None:
    found = complaint(words_of(line)[1:])
    assert said in found and bool(said) == bool(found)


@pytest.mark.parametrize("line", readme_lines())
def test_a_console_line_of_the_readme_parses(line: str) -> None:
    program, *rest = words_of(line)
    if Path(program).name == "gemwright":
        assert not complaint(rest)
    elif program == "make":
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
        assert {word for word in rest if "=" not in word} <= targets


@pytest.mark.parametrize("line", [line for line in readme_lines() if runnable(line)])
def test_a_console_line_for_the_embedded_model_runs(line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gemwright", *words_of(line)[1:]],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "80", "NO_COLOR": "1"},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert done.stdout.strip()
