"""`gemwright train`: run a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from gemwright.cli import options, show
from gemwright.cli.train_plan import print_forecast
from gemwright.cli.train_view import View
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.train.progress import Outcome
    from gemwright.train.run import Run


def run(
    recipe: Annotated[
        str, typer.Argument(help="A recipe; pocket, then sight make the embedded model.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run: log, checkpoints, model.", show_default=False)],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="Change a field of the run; may be given again.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what the run would take, and leave.")] = False,
    price: Annotated[
        float | None, typer.Option(help="Of an hour of this machine; --dry-run tells the cost.", show_default=False)
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write OUT/tensorboard too.")] = False,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Train a model by a recipe.

    Ctrl-C ends with a checkpoint, and --resume goes on from it.

    Example: [bold]gemwright train python --out run --set steps=200 --set optim.rate=1e-3[/bold]
    """
    options.use_threads(threads)
    module = recipe_module(recipe)
    from gemwright.train.run import override

    settings = [*(set or []), *(["watch.tensorboard=true"] if tensorboard else [])]
    planned = override(getattr(module, recipe)(out), settings)
    if dry_run or price is not None:
        _forecast(planned, price, json, wanted=dry_run)
        return
    execute(planned, module.make, resume=resume, json=json)


def execute(planned: Run, make: Callable[..., tuple[Outcome, Path | None]], *, resume: bool, json: bool) -> None:
    """Runs what is planned under the live view, and says how it ended; stopped, the exit code is 130."""
    with View(planned.name) as view:
        outcome, folder = make(planned, resume=resume, progress=view.show)
    _report(outcome, folder, json)
    if folder is None:
        raise typer.Exit(130)


def _forecast(run: Run, price: float | None, json: bool, *, wanted: bool) -> None:
    """What the run would take, on stdout."""
    if not wanted or (price is not None and not price >= 0):
        problem = "is only told by --dry-run" if not wanted else "of an hour cannot be less than nothing"
        raise UserError(f"a price {problem}", hint="write --dry-run --price 2.5")
    from gemwright.train.forecast import forecast

    with show.waiting("counting, and trying a step"):
        told = forecast(run, price=price)
    if json:
        show.as_json(told.to_json())
    else:
        print_forecast(told)


def recipe_module(name: str) -> ModuleType:
    """The module of a recipe: a file among the recipes with a function of its own name, which gives the run."""
    import pkgutil
    from importlib import import_module

    from gemwright import recipes

    modules = {found.name: f"{recipes.__name__}.{found.name}" for found in pkgutil.iter_modules(recipes.__path__)}
    module = import_module(modules[name]) if name in modules else None
    if module is None or not hasattr(module, "make") or not hasattr(module, name):
        known = [each for each in sorted(modules) if hasattr(import_module(modules[each]), each)]
        hint = f"recipes: {', '.join(known)}"
        raise UserError(f"there is no recipe {name!r}", hint=hint)
    return module


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
