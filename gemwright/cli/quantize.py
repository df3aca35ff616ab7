"""`gemwright quantize`: weights in fewer bits, and what that costs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemwright.cli import convert, options, show
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.evals.compare import Comparison
    from gemwright.loading import Opened
    from gemwright.nn.decoder import Decoder
    from gemwright.ops.matmul import Form
    from gemwright.quant.scheme import Scheme
    from gemwright.text.tokenizer import Tokenizer

_WINDOW = 512  # tokens that are read together


def run(
    model: options.Model = "pocket",
    quant: Annotated[str, typer.Option(help="The scheme: q8_0, q4_0, q4_0-all, int8, int4, sfp8 or bf16.")] = "q4_0",
    out: Annotated[
        Path | None, typer.Option(help="Folder to write, or a file that ends in .gguf.", show_default="only measured")
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="Measure on this file.", show_default="docstrings of this Python's library")
    ] = None,
    threads: options.Threads = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that is there.")] = False,
    json: options.Json = False,
) -> None:
    """Write a model in fewer bits, and measure what that costs.

    On a text, beside the original: how far the predictions move (KL divergence), perplexity, and how often the
    likeliest token stays. A folder holds every scheme; GGUF files hold q8_0, q4_0, q4_0-all and bf16.

    Example: [bold]gemwright quantize gemma-3-1b-it --quant q4_0 --out gemma-q4[/bold]
    """
    from gemwright.loading import companions, open_checkpoint
    from gemwright.quant.scheme import scheme
    from gemwright.weights import hub

    options.use_threads(threads)
    wanted = scheme(quant)
    opened = open_checkpoint(hub.resolve(model))
    if out is not None:
        _check_target(wanted, out, opened)
    forms = _forms(opened, wanted)
    texts = _texts(opened, companions(opened.folder).tokenizer, text, model, needed=out is None)
    tree: dict[str, Any] = {"model": opened.spec.name, "quant": wanted.name, "out": None, **_bytes(opened, forms)}
    if out is not None:
        tree["out"] = str(_write(model, opened, out, wanted, forms, overwrite))
    found, dtype = _measure(model, wanted, texts) if texts else (None, None)
    if json:
        measured = {name: getattr(found, name, None) for name in _measures()}
        show.as_json(tree | {"original_dtype": dtype} | measured)
    else:
        _print(tree, found, dtype)


def _check_target(wanted: Scheme, out: Path, opened: Opened) -> None:
    from gemwright.paths import probe
    from gemwright.weights.gguf.emit import TYPES

    if probe(out).exists() and out.expanduser().samefile(opened.folder):
        raise UserError(f"{out} is the original itself", hint="give another name: both are measured")
    if out.suffix == ".gguf" and wanted.linear not in TYPES:
        raise UserError(
            f"{out} is a GGUF file, which has no words for {wanted.name}",
            hint="take q8_0 or q4_0, or write a folder: let --out not end in .gguf",
        )


def _forms(opened: Opened, wanted: Scheme) -> dict[str, Form]:
    """The form of each parameter that the scheme packs."""
    import torch

    from gemwright.nn.decoder import Decoder
    from gemwright.quant.swap import empty_matrices

    with torch.device("meta"):
        model = Decoder(opened.spec)
    return {name: matrix.form for name, matrix in empty_matrices(model, wanted, "meta").items()}


def _texts(
    opened: Opened, tokenizer: Tokenizer | None, file: Path | None, model: str, *, needed: bool
) -> list[list[int]]:
    """The text to measure on, as windows of ids; none for a model without a tokenizer, where that may be."""
    from gemwright.evals.compare import windows
    from gemwright.evals.sample import docstrings

    if tokenizer is None:
        if needed or file is not None:
            raise UserError(
                f"{model} has no tokenizer, so there is no text to measure on", hint="give --out to write it unmeasured"
            )
        show.note("there is no tokenizer: what is written is not measured")
        return []
    content = options.read_file(file) if file is not None else docstrings()
    ids = tokenizer.encode(content)
    size = min(_WINDOW, max(3, opened.spec.context or _WINDOW))
    if not (cut := windows(ids, size, tokenizer.bos)):
        raise UserError(f"{file} has nothing to measure on", hint="give a longer text")
    return cut


def _bytes(opened: Opened, forms: dict[str, Form]) -> dict[str, int]:
    """Bytes of the weights in the files, and as they are held in these forms (the rest in bfloat16)."""
    import torch

    from gemwright.ops.matmul import weight_bytes
    from gemwright.weights.stream import stored_bytes

    before = after = 0
    for name in opened.source.names():
        ours, shape = opened.names.ours(name), opened.source.shape(name)
        if ours is None:
            continue
        before += stored_bytes(opened.source, name)
        form = forms.get(ours)
        after += shape[0] * weight_bytes(form, shape[1]) if form else 2 * torch.Size(shape).numel()
    return {"bytes_before": before, "bytes_after": after}


def _write(model: str, opened: Opened, out: Path, wanted: Scheme, forms: dict[str, Form], overwrite: bool) -> Path:
    if out.suffix == ".gguf":
        convert.to_file(model, out, wanted.linear, wanted.table, None, overwrite)
        return out
    from gemwright.weights.quantised_save import save_quantised

    with tempfile.TemporaryDirectory() as work, show.waiting(f"writing {out}"):
        if opened.layout is not None:
            extras, documents = [opened.layout.folder / name for name in opened.layout.others], {}
        else:
            extras, documents = convert.beside(opened.folder, Path(work))
        left = save_quantised(
            out,
            opened.spec,
            opened.source,
            opened.names,
            scheme=wanted.name,
            forms=forms,
            eyes=convert.vision_half(opened),
            overwrite=overwrite,
            extras=extras,
            documents=documents,
        )
    convert.tell_left(left)
    return out


def _measure(model: str, wanted: Scheme, texts: list[list[int]]) -> tuple[Comparison, str]:
    """The comparison, and the dtype that the original ran in."""
    from gemwright.evals.compare import compare
    from gemwright.loading import load_model

    with show.waiting(f"loading {model}"):
        original, dtype = _original(model, wanted, max(map(len, texts)))
        rounded = load_model(model, device="cpu", quant=wanted).model
    predicted = sum(len(text) - 1 for text in texts)
    with show.counting("measuring", predicted) as shown:
        return compare(original, rounded, texts, shown), dtype


def _original(model: str, wanted: Scheme, length: int) -> tuple[Decoder, str]:
    """The model as it is in float32; with its matrices in bfloat16 where that is all that fits beside the other one."""
    from gemwright.loading import load_model
    from gemwright.planner.fit import plan
    from gemwright.planner.measure import available

    free = available()
    needed = plan(model, context=length, dtype="float32").total + plan(model, context=length, quant=wanted).total
    if free is None or needed <= free:
        return load_model(model, dtype="float32", device="cpu").model, "float32"
    show.note(f"both models take {show.size(needed)}, more than is free: the original's matrices run in bfloat16")
    return load_model(model, device="cpu", quant="bf16").model, "bfloat16"


def _measures() -> tuple[str, ...]:
    from gemwright.evals.compare import Comparison

    return tuple(Comparison.__dataclass_fields__)


def _print(tree: dict[str, Any], found: Comparison | None, dtype: str | None) -> None:
    before, after = tree["bytes_before"], tree["bytes_after"]
    sizes = f"{show.size(before)} → {show.size(after)} of weights ({after / before:.0%})"
    print(f"{tree['model']} as {tree['quant']}: {sizes}")
    if found is not None:
        print(f"on {show.number(found.tokens)} tokens, beside the original in {dtype}:")
        print(f"  KL divergence      {found.kl:.3g} nats a token, 99th percentile {found.kl_99:.3g}")
        print(f"  perplexity         {found.original_perplexity:.4g} → {found.perplexity:.4g}")
        print(f"  same first choice  {found.agreement:.1%} of tokens")
    if tree["out"] is not None:
        print(f"wrote {tree['out']}")
