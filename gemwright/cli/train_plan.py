"""`gemwright train --dry-run`: what a run would take, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemwright.cli import show
from gemwright.cli.train_view import duration

if TYPE_CHECKING:
    from rich.table import Table

    from gemwright.train.forecast import Forecast

_FLOPS = {
    "matrices": "6 a token and number in matrices",
    "attention": "12 a channel, query and seen key",
    "head": "6 a token and number in the table",
    "again": "blocks run again for the gradient",
}
_MEMORY = {
    "weights": "float32",
    "gradients": "float32; beyond the activations' room",
    "moments": "float32, the optimiser's",
    "average": "float32",
    "activations": "of a micro-batch, for the gradient",
    "copies": "weights in bfloat16",
    "head": "scores, the table's gradient",
    "backward": "of blocks, beyond the head's room",
    "runtime": "modules; measured once",
    "scratch": "kernels, holes in the heap; measured",
}


def print_forecast(told: Forecast) -> None:
    """The forecast on stdout."""
    out, plan = show.console(), told.plan
    out.print(f"[bold]{plan.name}[/bold]: {plan.steps:,} steps, at most {plan.tokens:,} tokens")
    table = _table()
    table.add_row("parameters", show.number(plan.table + plan.body), "")
    table.add_row("  embedding table", show.number(plan.table), "")
    table.add_row("  all others", show.number(plan.body), "")
    table.add_section()
    table.add_row("operations of a step", _count(plan.step_flops), "a product and a sum are two")
    for name, remark in _FLOPS.items():
        if plan.flops[name]:
            table.add_row(f"  {name}", _count(plan.flops[name]), remark)
    table.add_row("operations of the run", _count(plan.total_flops), "")
    table.add_section()
    memory = plan.memory.to_json()
    for name, remark in _MEMORY.items():
        if memory[name]:
            table.add_row(f"  {name}", show.size(memory[name]), remark)
    table.add_row("memory", show.size(plan.memory.total), "beside what torch itself takes")
    table.add_section()
    measured = "a step was timed here" if told.basis == "step" else "at least: products were timed here"
    table.add_row("time", duration(told.seconds), measured)
    if told.cost is not None:
        table.add_row("cost", f"{told.cost:,.2f}", f"at {told.price:g} an hour")
    out.print(table)


def _table() -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    return table


def _count(number: float) -> str:
    """A large count as people read it: `61.6 billion`."""
    for unit in ("", " thousand", " million", " billion", " trillion", " quadrillion"):
        if number < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} quintillion"
