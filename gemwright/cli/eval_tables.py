"""The numbers of `gemwright eval` as tables, made from the tree that --json prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gemwright.cli import show

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = 300  # characters of a question that got a wrong answer, its end


def show_all(tree: dict[str, Any]) -> None:
    """Every suite in turn."""
    out = show.console()
    recipe = tree["recipe"]
    how = recipe["quant"] or recipe["dtype"]
    out.print(f"[bold]{recipe['model']}[/bold] in {how}, {recipe['threads']} threads, seed {recipe['seed']}")
    for name, found in tree["suites"].items():
        for part in {"pocket": _pocket, "perplexity": _perplexity, "needle": _needle}[name](found):
            out.print(part)
        times = tree["times"][name]
        speed = f", {times['tokens_per_second']:.0f} tokens/s drawn" if "tokens_per_second" in times else ""
        out.print(f"{name}: {times['seconds']:.1f} s{speed}", style="dim")
        _failures(found.get("failures", []))
    if "harness" in tree:
        out.print(_harness(tree["harness"]))


def _table(*columns: str, left: int = 1) -> Table:
    """Columns of numbers, the first `left` of them words."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right", no_wrap=True)
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _between(interval: list[float]) -> str:
    return f"{_percent(interval[0])}–{_percent(interval[1])}"


def _pocket(found: dict[str, Any]) -> list[Any]:
    table = _table("skill", "tasks", "items", "right", "95%", "majority", "n-gram", "tokens")
    for row in found["skills"]:
        table.add_row(
            row["skill"],
            str(len(row["tasks"])),
            show.number(row["items"]),
            f"[bold]{_percent(row['score'])}[/bold]",
            _between(row["interval"]),
            _percent(row["majority"]),
            _percent(row["ngram"]),
            f"{row['tokens']:.1f}",
        )
    lines = ["Percent of the points; majority and n-gram are baselines that understand nothing.", *found["notes"]]
    if unanswered := sum(row["unanswered"] for row in found["skills"]):
        lines.append(f"{unanswered} questions do not fit the context and count as wrong")
    return [table, *lines]


def _perplexity(found: dict[str, Any]) -> list[Any]:
    table = _table("", "nats/token", "bits/byte", "95%")
    low, high = found["bits_per_byte_interval"]
    nats, bits = found["nats_per_token"], found["bits_per_byte"]
    table.add_row("[bold]model[/bold]", f"{nats:.4f}", f"[bold]{bits:.4f}[/bold]", f"{low:.4f}–{high:.4f}")
    for name, value in found["baselines_bits_per_byte"].items():
        table.add_row(name, f"{value * nats / bits:.4f}" if bits else "", f"{value:.4f}", "")
    text = found["text"]
    size = (
        f"{show.number(text['documents'])} documents, {show.size(text['bytes'])}, {show.number(found['tokens'])} tokens"
    )
    reached = "beyond all numbers" if found["perplexity"] is None else f"{found['perplexity']:.2f}"
    return [table, f"{size}; perplexity {reached}"]


def _needle(found: dict[str, Any]) -> list[Any]:
    shares = list(dict.fromkeys(cell["share"] for cell in found["cells"]))
    table = _table("tokens", *(f"{share:.0%} back" for share in shares), left=0)
    cells = {(cell["length"], cell["share"]): cell for cell in found["cells"]}
    for length in dict.fromkeys(cell["length"] for cell in found["cells"]):
        row = [cells[length, share] for share in shares]
        table.add_row(show.number(length), *(f"{_percent(one['score'])}{'*' if one['beyond'] else ' '}" for one in row))
    items = found["settings"]["items"]
    lines = [f"% right of {items} questions each; the record stands so far behind the end, as a share of the prompt"]
    if found["window"] is not None:
        lines.append(f"* farther back than the local layers' window of {show.number(found['window'])} tokens")
    return [table, *lines]


def _harness(found: dict[str, Any]) -> Table:
    table = _table("task", "metric", "value", "± std. error", left=2)
    for task, measures in found["results"].items():
        for name, value in measures.items():
            metric, _, kind = name.partition(",")
            if not isinstance(value, float | int) or not kind or metric.endswith("_stderr"):
                continue
            error = measures.get(f"{metric}_stderr,{kind}")
            table.add_row(task, metric, f"{value:.4f}", f"{error:.4f}" if isinstance(error, float) else "")
    return table


def _failures(failures: list[dict[str, Any]]) -> None:
    """Wrong answers as they are: what a model says is no markup."""
    from rich.text import Text

    out = show.console()
    for one in failures:
        out.print(Text(f"{one['skill']}/{one['task']}: {one['reason']}", style="bold"))
        for title, text in (
            ("question", one["question"][-_SHOWN:]),
            ("ideal", one["ideal"]),
            ("answer", one["answer"]),
        ):
            out.print(Text(f"  {title:9}{text!r}"))
