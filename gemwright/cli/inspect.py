"""`gemwright inspect`: what a model is, and whether its files are whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemwright.cli import options, show

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from gemwright.arch.spec import Attention, Layer, Model
    from gemwright.cli.integrity import Files

MARKS = {"local": ("░", "cyan"), "global": ("█", "yellow"), "recurrent": ("≈", "magenta")}
_STRIP = 66  # layers in a line


def run(model: options.Model = "pocket", json: options.Json = False) -> None:
    """Show what a model is, and check its files.

    A published name works without files. Weights are not loaded.

    Example: [bold]gemwright inspect gemma-3-27b[/bold]
    """
    from gemwright.planner.count import parameters

    spec, files = _find(model)
    counts = parameters(spec)
    if json:
        show.as_json(_tree(spec, counts, files))
        return
    out = show.console()
    out.print(_title(spec, counts))
    out.print()
    out.print(_strip(spec))
    out.print(_legend(spec))
    out.print(_facts(spec, files))
    out.print(_parts(spec, counts))
    if files is None:
        show.note(f"this is the published size; no files of it are here (gemwright pull {model})")
        return
    out.print(_files(files))
    for note in files.notes:
        show.note(note)


def _find(model: str) -> tuple[Model, Files | None]:
    """A model and its files; a published name whose files are not here has none."""
    from gemwright.cli.integrity import examine
    from gemwright.weights import hub

    found = hub.locate(model)
    return examine(found) if isinstance(found, Path) else (found, None)


def _title(spec: Model, counts: dict[str, int]) -> str:
    return f"[bold]{spec.name}[/bold] ({spec.family}): {show.number(sum(counts.values()))} parameters"


def _strip(spec: Model) -> Text:
    """One mark for each layer, first to last."""
    from rich.text import Text

    text = Text()
    for index, kind in enumerate(spec.kinds):
        mark, colour = MARKS[kind]
        text.append("\n" if index and index % _STRIP == 0 else "")
        text.append(mark, style=colour)
    return text


def _legend(spec: Model) -> Text:
    from rich.text import Text

    text = Text()
    for kind, (mark, colour) in MARKS.items():
        if count := spec.kinds.count(kind):  # type: ignore[arg-type]
            text.append("   " if text.plain else "")
            text.append(mark, style=colour)
            text.append(f" {count} {kind}", style="dim")
    return text


def _facts(spec: Model, files: Files | None) -> Table:
    table = _grid()
    table.add_row("width", f"{spec.width}, {len(spec.layers)} layers")
    for label, layer, count in _kinds(spec):
        table.add_row(f"{label} ×{count}", _mixer(layer))
    hidden = sorted({layer.mlp.hidden for layer in spec.layers})
    table.add_row("mlp", f"hidden {', '.join(map(str, hidden))}{', biases' if spec.layers[0].mlp.bias else ''}")
    caps = f", logits capped at {spec.final_cap:g}" if spec.final_cap else ""
    table.add_row("vocabulary", f"{show.number(spec.vocab)} rows, tied{caps}")
    table.add_row(
        "context", f"{show.number(spec.context)} tokens" if spec.context else "any: the state has a fixed size"
    )
    if spec.vision:
        tower = spec.vision.tower
        table.add_row("vision", f"{tower.image}×{tower.image} pixels → {spec.vision.tokens} tokens (not loaded)")
    if files is not None:
        if files.packed:
            table.add_row("weights", ", ".join(f"{count} × {kind}" for kind, count in files.packed.items()))
        else:
            table.add_row("dtype", ", ".join(files.dtypes))
        table.add_row("tokenizer", files.tokenizer or "none")
    return table


def _kinds(spec: Model) -> list[tuple[str, Layer, int]]:
    """Layers that are equal, together: what to call them, one of them, how many."""
    return [(layer.kind, layer, count) for layer, count in Counter(spec.layers).items()]


def _mixer(layer: Layer) -> str:
    from gemwright.arch.spec import Recurrent

    mixer = layer.mixer
    if isinstance(mixer, Recurrent):
        return f"RG-LRU of width {mixer.width}, gates in {mixer.blocks} blocks, convolution of {mixer.conv}"
    return ", ".join(_attention(mixer))


def _attention(mixer: Attention) -> list[str]:
    words = [f"{mixer.heads} heads on {mixer.kv_heads} of {mixer.head_dim}"]
    if mixer.window:
        words.append(f"window {mixer.window}")
    factor = f" ÷ {mixer.rope.factor:g}" if mixer.rope.factor != 1 else ""
    part = f" on {mixer.rope.channels}" if mixer.rope.channels != mixer.head_dim else ""
    words.append(f"RoPE {mixer.rope.base:,.0f}{factor}{part}")
    if mixer.query_scalar != mixer.head_dim:
        words.append(f"scale {mixer.query_scalar:g}^-½")
    words += [f"cap {mixer.cap:g}"] if mixer.cap else []
    return words + (["QK-norm"] if mixer.qk_norm else [])


def _parts(spec: Model, counts: dict[str, int]) -> Table:
    from rich import box
    from rich.table import Table

    total = sum(counts.values())
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("parameters")
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    for part, count in counts.items():
        if count:
            table.add_row("embedding table" if part == "table" else part, show.number(count), f"{count / total:.1%}")
    if spec.vision:
        from gemwright.planner.count import vision_parameters

        vision = vision_parameters(spec.vision, spec.width)
        table.add_row("[dim]vision tower[/dim]", f"[dim]{show.number(vision)}[/dim]", "[dim]apart[/dim]")
    return table


def _files(files: Files) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    table.add_column("file", overflow="fold")
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("what was checked")
    for file in files.files:
        table.add_row(Text(file.name), show.size(file.bytes), Text(f"✓ {file.checked}", style="green"))
    for reason, names in files.left.items():
        table.add_row("", "", Text(f"{len(names)} left in the file: {reason}", style="dim"))
    table.title = Text(str(files.folder), style="dim", overflow="fold")
    table.title_justify = "left"
    return table


def _grid() -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _tree(spec: Model, counts: dict[str, int], files: Files | None) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "name": spec.name,
        "family": spec.family,
        "kinds": list(spec.kinds),
        "parameters": {**counts, "total": sum(counts.values())},
        "fingerprint": spec.fingerprint(),
        "spec": asdict(spec),
        "folder": None,
    }
    if files is not None:
        tree |= asdict(files) | {"folder": str(files.folder)}
    return tree
