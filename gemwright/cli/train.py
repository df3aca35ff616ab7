"""`gemwright train`: run a recipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemwright.cli import options, show
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.train.loop import Outcome, Progress

_LINE = 10.0  # seconds between lines of progress where there is no terminal


def run(
    recipe: Annotated[str, typer.Argument(help="A recipe; pocket makes the embedded model.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the run: log, checkpoints, model.", show_default=False)],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="Change a field of the run; may be given again.", show_default=False),
    ] = None,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Train a model by a recipe.

    Ctrl-C ends with a checkpoint, and --resume goes on from it.

    Example: [bold]gemwright train pocket --out run --set steps=200 --set optim.rate=1e-3[/bold]
    """
    options.use_threads(threads)
    module = _recipe(recipe)
    from gemwright.train.run import override

    planned = override(getattr(module, recipe)(out), set or [])
    with _Bar(planned.steps) as bar:
        outcome, folder = module.make(planned, resume=resume, progress=bar.show)
    _report(outcome, folder, json)
    if folder is None:
        raise typer.Exit(130)


def _recipe(name: str) -> ModuleType:
    """The module of a recipe: a file of that name among the recipes."""
    import pkgutil
    from importlib import import_module

    from gemwright import recipes

    known = sorted(found.name for found in pkgutil.iter_modules(recipes.__path__))
    if name not in known:
        raise UserError(f"there is no recipe {name!r}", hint=f"recipes: {', '.join(known)}")
    return import_module(f"gemwright.recipes.{name}")


def _report(outcome: Outcome, folder: Path | None, json: bool) -> None:
    held_out = outcome.held_out
    if json:
        found = {"loss": held_out.loss, "bits_per_byte": held_out.bits_per_byte} if held_out else None
        tree = {"step": outcome.step, "finished": outcome.finished, "seconds": outcome.seconds, "held_out": found}
        show.as_json({**tree, "folder": str(folder) if folder else None})
        return
    if folder is None:
        show.note(f"stopped after step {outcome.step}; --resume goes on from there")
        return
    if held_out:
        show.note(f"held-out text: {held_out.loss:.4f} nats a token, {held_out.bits_per_byte:.4f} bits a byte")
    print(folder)


class _Bar:
    """Progress on stderr: a bar on a terminal, else a line now and then."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._bar: Any = None
        self._task: Any = None
        self._last = -_LINE
        self._console = show.console(stderr=True)

    def __enter__(self) -> _Bar:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (BarColumn(bar_width=None), MofNCompleteColumn(), TextColumn("{task.fields[facts]}"))
            self._bar = Progress(*columns, TimeRemainingColumn(compact=True), console=self._console)
            self._task = self._bar.add_task("", total=self._steps, facts="preparing the text")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def show(self) -> Callable[[Progress], None]:
        """What the loop calls after each step."""
        return self._shown if self._bar is not None else self._line

    def _shown(self, progress: Progress) -> None:
        if progress.note:
            self._console.print(f"note: {progress.note}", markup=False)
        facts = f"loss {progress.loss:.3f} {progress.tokens_per_second:.0f} tok/s"
        if progress.held_out:
            facts += f" {progress.held_out.bits_per_byte:.3f} bits/B"
        self._bar.update(self._task, completed=progress.step, facts=facts)

    def _line(self, progress: Progress) -> None:
        if progress.note:
            show.note(progress.note)
        if progress.seconds - self._last < _LINE and progress.step != progress.steps:
            return
        self._last = progress.seconds
        print(
            f"step {progress.step}/{progress.steps}  loss {progress.loss:.3f}  "
            f"{progress.tokens_per_second:.0f} tokens/s  {progress.remaining / 60:.1f} min left",
            file=sys.stderr,
            flush=True,
        )
