"""A run while it goes on: a panel on a terminal, else a line now and then. Both on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gemwright.cli import show

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gemwright.train.progress import Progress

_LINE = 10.0  # seconds between lines of progress where there is no terminal
_BARS = "▁▂▃▄▅▆▇█"
_KEPT = 4000  # losses that the curve is drawn from


class View:
    """Open it around a run, and give `show` to the loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._console = show.console(stderr=True)
        self._live: Any = None
        self._losses: list[float] = []
        self._now: Progress | None = None
        self._last = -_LINE

    def __enter__(self) -> View:
        if sys.stderr.isatty():
            from rich.live import Live

            self._live = Live(console=self._console, get_renderable=self._panel, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def show(self) -> Callable[[Progress], None]:
        """What the loop calls after each step."""
        return self._line if self._live is None else self._shown

    def _shown(self, progress: Progress) -> None:
        if progress.note:
            self._console.print(f"note: {progress.note}", markup=False)
        self._losses.append(progress.loss)
        del self._losses[:-_KEPT]
        self._now = progress

    def _panel(self) -> RenderableType:
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        now = self._now
        width = max(self._console.width - 2, 20)  # beside it stands the ^C that a terminal shows: no new line
        if now is None:
            return Panel("preparing the text", title=self._name, title_align="left", width=width)
        room = max(width - 28, 8)
        rows = Table.grid(padding=(0, 2), expand=True)
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        rows.add_row("loss", f"[bold]{now.loss:.4f}[/bold]  {sparkline(self._losses, room)}")
        rows.add_row("held out", _held_out(now))
        rows.add_row("speed", f"{now.tokens_per_second:,.0f} tokens/s    rate {now.rate:.2e}    norm {now.norm:.3g}")
        rows.add_row("time", "  ".join(f"{part} {share:.0%}" for part, share in now.parts.items()))
        rows.add_row("memory", "not told by this system" if now.memory is None else show.size(now.memory))
        rows.add_row("", ProgressBar(total=now.steps, completed=now.step))
        return Panel(
            rows,
            title=f"{self._name}: step {now.step:,} of {now.steps:,}",
            title_align="left",
            subtitle=f"{duration(now.seconds)} gone, {duration(now.remaining)} left",
            subtitle_align="right",
            width=width,
        )

    def _line(self, progress: Progress) -> None:
        if progress.note:
            show.note(progress.note)
        if progress.seconds < self._last:  # of a run before this one: a recipe may have several
            self._last = -_LINE
        if progress.seconds - self._last < _LINE and progress.step != progress.steps:
            return
        self._last = progress.seconds
        held_out = f"  held out {progress.held_out.bits_per_byte:.3f} bits/byte" if progress.held_out else ""
        print(
            f"step {progress.step}/{progress.steps}  loss {progress.loss:.3f}{held_out}  "
            f"{progress.tokens_per_second:.0f} tokens/s  {duration(progress.remaining)} left",
            file=sys.stderr,
            flush=True,
        )


def _held_out(now: Progress) -> str:
    if now.held_out is None:
        return "not evaluated yet"
    return f"{now.held_out.loss:.4f} nats a token    {now.held_out.bits_per_byte:.4f} bits a byte"


def sparkline(values: Sequence[float], width: int) -> str:
    """A curve of at most `width` characters, each the mean of as many values as fall to it; its top is the largest of
    these means."""
    columns = min(width, len(values))
    cuts = [round(column * len(values) / columns) for column in range(columns + 1)] if columns else []
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * scale)] for mean in means)


def duration(seconds: float) -> str:
    """A time as people say it: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
