"""The speeds of a contest as bars. Needs matplotlib, which comes with the extra `report`."""

from __future__ import annotations

from pathlib import Path

from gemwright.bench.table import Result
from gemwright.errors import UserError

_COLOURS = ("#1a73e8", "#9aa0a6", "#f9ab00", "#188038", "#a142f4")


def check(path: Path) -> None:
    """Raises `UserError` where `plot` would: better before an hour of measuring than after it."""
    try:
        import matplotlib.figure
    except ImportError as error:
        raise UserError("a plot needs matplotlib", hint="pip install 'gemwright[report]'") from error
    kinds = matplotlib.figure.Figure().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds:
        raise UserError(f"{path} names no kind of picture", hint=f"end it in one of {', '.join(sorted(kinds))}")
    if not path.absolute().parent.is_dir():
        raise UserError(f"there is no folder {path.absolute().parent}", hint="make it first")


def plot(result: Result, path: Path) -> None:
    """One panel for each measure, one bar for each contestant, median tokens per second; dots are the single rounds.

    Raises `UserError` without matplotlib, or for a path that cannot be written.
    """
    check(path)
    from matplotlib.figure import Figure

    measures = [measure for measure in result.measures if any(entry.speed(measure) for entry in result.entries)]
    figure = Figure(figsize=(1.2 + 2.6 * len(measures), 3.4), layout="constrained")
    for at, measure in enumerate(measures):
        panel = figure.add_subplot(1, len(measures), at + 1)
        for place, entry in enumerate(result.entries):
            speed = entry.speed(measure)
            if speed is None:
                continue
            panel.bar(place, speed, color=_COLOURS[place % len(_COLOURS)], label=entry.name)
            dots = [measure.tokens / seconds for seconds in entry.seconds[measure.name]]
            panel.plot([place] * len(dots), dots, ".", color="black", markersize=3)
        panel.set_title(measure.name, fontsize=10)
        panel.set_xticks(range(len(result.entries)), [entry.name for entry in result.entries], fontsize=8, rotation=20)
        panel.set_ylabel("tokens/s" if at == 0 else "")
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{result.facts.get('model', '')}: the machine reads {result.bandwidth:.1f} GB/s", fontsize=10)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}", hint="choose another path") from error
