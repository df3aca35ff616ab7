"""The results of a contest as rows, a table, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from gemwright.bench.measures import Entry, Measure

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Result:
    """A contest that is over: `entries` (ours first) of `measures`, and the bandwidth of the same run in GB/s.

    `facts`: what else a reader must know (model, threads, rounds, versions, the machine).
    """

    entries: Sequence[Entry]
    measures: Sequence[Measure]
    bandwidth: float
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table: one value for each contestant, None where there is none. `better` says which of two values
    wins; None is no contest."""

    label: str
    unit: str
    values: tuple[float | None, ...]
    better: Literal["more", "less"] | None

    @property
    def ratio(self) -> float | None:
        """How many times better the first value is than the best of the others; None without both."""
        ours, others = self.values[0], [value for value in self.values[1:] if value]
        if self.better is None or not ours or not others:
            return None
        return ours / max(others) if self.better == "more" else min(others) / ours


def rows(result: Result) -> list[Row]:
    """All that the table shows. Medians of the rounds; loading and the first token are those of the first time."""
    found: list[Row] = []

    def row(label: str, unit: str, values: list[float | None], better: Literal["more", "less"] | None) -> None:
        if any(value is not None for value in values):
            found.append(Row(label=label, unit=unit, values=tuple(values), better=better))

    entries = result.entries
    for measure in result.measures:
        row(measure.name, "tokens/s", [entry.speed(measure) for entry in entries], "more")
        if measure.reads and measure.ask["do"] == "decode":
            rates = [entry.rate(measure) for entry in entries]
            row("  weights read", "GB/s", rates, None)
            row("  of the bandwidth", "%", [rate and 100 * rate / result.bandwidth for rate in rates], None)
    row("load", "s", [entry.loading[0] if entry.loading else None for entry in entries], "less")
    row("first token", "s", [entry.first[0] if entry.first else None for entry in entries], "less")
    row("peak memory", "GB", [entry.peak / 1e9 if entry.peak else None for entry in entries], "less")
    row("weights", "GB", [entry.weights / 1e9 if entry.weights else None for entry in entries], None)
    return found


def _cells(row: Row, ratios: bool) -> list[str]:
    cells = ["–" if value is None else _figure(value) for value in row.values]
    return cells + (["" if row.ratio is None else f"{row.ratio:.2f}×"] if ratios else [])


def _figure(value: float) -> str:
    """Three digits, more where they stand before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _heads(result: Result) -> list[str]:
    names = [entry.name for entry in result.entries]
    return names + (["to the best peer"] if len(names) > 1 else [])


def table(result: Result) -> Table:
    """For a terminal."""
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("")
    for head in _heads(result):
        drawn.add_column(head, justify="right")
    drawn.add_column("", style="dim")
    for row in rows(result):
        drawn.add_row(row.label, *_cells(row, len(result.entries) > 1), row.unit)
    return drawn


def markdown(result: Result) -> str:
    """For a document."""
    heads = ["", *_heads(result)]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for row in rows(result):
        lines.append([f"{row.label.strip()}, {row.unit}", *_cells(row, len(result.entries) > 1)])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def remarks(result: Result) -> list[str]:
    """What the table alone does not say: the bandwidth, and what a contestant could not do."""
    lines = [f"this machine reads {result.bandwidth:.1f} GB/s (best loop of this run)"]
    for entry in result.entries:
        lines += [f"{entry.name}, {name}: {why}" for name, why in entry.cannot.items()]
    return lines


def to_json(result: Result) -> dict[str, Any]:
    """Everything that was measured, every round of it, beside the rows of the table."""
    return {
        **result.facts,
        "bandwidth_gigabytes_per_second": result.bandwidth,
        "measures": [asdict(measure) for measure in result.measures],
        "entries": [asdict(entry) for entry in result.entries],
        "rows": [asdict(row) | {"label": row.label.strip(), "ratio": row.ratio} for row in rows(result)],
    }
