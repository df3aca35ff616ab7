"""How every command ends and speaks."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
import typer

import gemwright
from gemwright.cli import show
from gemwright.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent


def leaves() -> Iterator[tuple[str, ...]]:
    """The words of every command that does something."""
    pending = [((), typer.main.get_command(import_module("gemwright.cli.main").app))]
    while pending:
        words, command = pending.pop()
        below = getattr(command, "commands", {})
        pending += [((*words, name), child) for name, child in below.items()]
        if not below:
            yield words


@pytest.mark.parametrize("words", sorted(leaves()), ids=" ".join)
def test_help_holds_an_example_within_80_columns(cli: Callable, words: tuple[str, ...]) -> None:
    ended = cli(*words, "--help")
    assert ended.code == 0
    assert f"Example: gemwright {' '.join(words)}" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


@pytest.mark.parametrize("words", [("--help",), ("--version",)])
def test_help_answers_at_once(words: tuple[str, ...]) -> None:
    def seconds() -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "gemwright", *words], cwd=ROOT, check=True, capture_output=True)
        return time.perf_counter() - begin

    # In terms of the interpreter's own start, since the machine may be busy with other tests.
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import typer, rich.console"], check=True, capture_output=True)
    start = time.perf_counter() - begin
    assert min(seconds() for _ in range(3)) < max(0.5, 4 * start)


def test_the_version_is_the_packages(cli: Callable) -> None:
    assert cli("--version").out == f"gemwright {gemwright.__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("inspect", "/nowhere/at/all"), "/nowhere/at/all does not exist"),
        (("inspect", "gemma-3-1bb"), "gemma-3-1bb"),
        (("plan", "--contxt", "3"), "--contxt"),
        (("plan", "--batch", "x"), "--batch"),
        (("plann",), "plann"),
        (("convert", "somewhere"), "out"),
        (("train", "nothing", "--out", "x"), "nothing"),
        (("generate", "def ", "-m", "/nowhere"), "/nowhere"),
        (("chat", "/nowhere"), "/nowhere"),
        (("generate", "def ", "--device", "abacus"), "abacus"),
        (("generate", "def ", "--dtype", "float16"), "float16"),
        (("generate", "def ", "--top-p", "7"), "top_p is 7"),
    ],
)
def test_a_mistake_is_two_lines_and_code_2(cli: Callable, words: tuple[str, ...], said: str, tiny: Path) -> None:
    if words[0] == "generate" and "-m" not in words:
        words = (*words, "-m", str(tiny))
    ended = cli(*words)
    error, hint = ended.err.splitlines()
    assert ended.code == 2 and ended.out == ""
    assert error.startswith("error: ") and said in error
    assert hint.startswith("hint: ") and len(hint) > len("hint: ")


def test_no_words_at_all_are_answered_with_help(cli: Callable) -> None:
    ended = cli()
    assert ended.code == 2 and "Usage" in ended.out + ended.err


def test_an_interrupt_is_quiet_and_130(cli: Callable, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gemwright.lm.load", interrupted)
    ended = cli("generate", "def ", "-m", tiny)
    assert ended.code == 130 and ended.out == "" and ended.err.strip() == ""


def test_a_reader_that_goes_away_is_no_accident(tiny: Path) -> None:
    words = ("-m", "gemwright", "inspect", str(tiny), "--json")
    program = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout is not None and program.stderr is not None
    program.stdout.close()
    error = program.stderr.read()
    program.stderr.close()
    program.wait(60)
    assert error == ""


def test_long_work_that_nobody_watches_tells_how_long_it_will_take(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After half a minute, and then whenever twice the time has passed."""
    clock = [0.0]
    monkeypatch.setattr(show.time, "monotonic", lambda: clock[0])
    with show.counting("questions", 2000) as told:
        for clock[0], done in ((1.0, 10), (40.0, 100), (50.0, 200), (90.0, 500), (200.0, 1500), (400.0, 2000)):
            told(done)
    assert capsys.readouterr().err.splitlines() == [
        "note: questions: 100 of 2,000 in 40 s, about 13 min left",
        "note: questions: 500 of 2,000 in 2 min, about 4 min left",
        "note: questions: 1,500 of 2,000 in 3 min, about 67 s left",
    ]


def test_warnings_become_notes(cli: Callable, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    from gemwright.weights import hub

    def warned(name: str) -> Path:
        warnings.warn("the folder is odd", stacklevel=1)
        return tiny

    monkeypatch.setattr(hub, "resolve", warned)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        ended = cli("tokenizer", "encode", "def", "-m", "odd")
    assert ended.code == 0 and ended.err == "note: the folder is odd\n"


@pytest.mark.parametrize(
    ("text", "count"),
    [("8G", 8 << 30), ("1.5M", 3 << 19), ("12k", 12 << 10), ("512", 512), ("2GiB", 2 << 30), ("3TB", 3 << 40)],
)
def test_sizes_are_read(text: str, count: int) -> None:
    assert show.read_size(text) == count


@pytest.mark.parametrize("text", ["", "G", "8X", "-3G", "8 G G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="no size"):
        show.read_size(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_600, "1 MB"),
        (8_925_478_912, "8.93 GB"),
    ],
)
def test_sizes_are_shown_in_three_digits(count: int, text: str) -> None:
    assert show.size(count) == text
