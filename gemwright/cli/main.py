"""The command `gemwright`: its commands, and how a run of it ends.

Nothing here or in a command's module imports torch before the command runs. A person's mistake ends with exit code 2
and two lines on stderr, what is wrong and what to do; Ctrl-C with 130; a reader that has gone away in silence.
"""

from __future__ import annotations

import os
import sys
import warnings
from io import TextIOWrapper
from typing import Annotated, Any

import typer

import gemwright
from gemwright.cli import (
    batch,
    bench,
    chat,
    convert,
    data,
    encode,
    eval,
    generate,
    inspect,
    lora,
    new,
    plan,
    pull,
    quantize,
    score,
    serve,
    show,
    teach,
    tokenizer,
    train,
    tune,
)
from gemwright.errors import UserError

USER_ERROR, INTERRUPTED = 2, 130

app = typer.Typer(
    name="gemwright",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gemwright {gemwright.__version__}")
        raise typer.Exit()


@app.callback()
def gemwright_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """The Gemma family in one package: Gemma 1, 2, 3 and RecurrentGemma.

    Without a model's name every command takes the small embedded one, so that this works offline at once:

    [bold]gemwright generate --chat "What is 47 + 38?"[/bold]
    """


_COMMANDS = (
    chat,
    generate,
    serve,
    batch,
    score,
    inspect,
    plan,
    new,
    convert,
    quantize,
    pull,
    train,
    tune,
    teach,
    encode,
    bench,
)
_NEED_NOTHING = ("bench", "chat", "eval", "inspect", "plan", "serve")
for _module in (*_COMMANDS, eval):
    _name = _module.__name__.rpartition(".")[2]
    app.command(_name, no_args_is_help=_name not in _NEED_NOTHING)(_module.run)
app.add_typer(lora.app, name="lora")
app.add_typer(tokenizer.app, name="tokenizer")
app.add_typer(data.app, name="data")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    warnings.showwarning = _warn
    _utf8()
    code = _run(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _hush()
    sys.exit(code)


def _run(arguments: list[str] | None) -> int:
    usage: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
    try:
        return typer.main.get_command(app)(args=arguments, prog_name="gemwright", standalone_mode=False) or 0
    except UserError as error:
        return _mistake(error.message, error.hint)
    except typer.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except usage as error:
        return _usage(error)


def _usage(error: Any) -> int:
    """A command line that cannot be parsed. Calling a command with nothing is a wish for its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return USER_ERROR
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "gemwright"
    return _mistake(error.format_message().rstrip("."), f"see {command} --help")


def _mistake(message: str, hint: str) -> int:
    show.complain("error", message)
    show.complain("hint", hint or "see gemwright --help")
    return USER_ERROR


def _warn(message: Warning | str, *_: Any) -> None:
    """Warnings of the libraries below become notes, without file names and line numbers."""
    show.note(str(message))


def _utf8() -> None:
    """Names and models speak UTF-8, whatever the locale says; what a stream cannot write is shown escaped, what is no
    text on stdin is read as U+FFFD (commands that must not change their input read its bytes)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")


def _hush() -> None:
    """The reader of stdout is gone: let the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
