"""`gemwright new`: a fresh checkpoint of any size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemwright.cli import options, show
from gemwright.errors import UserError
from gemwright.paths import probe

if TYPE_CHECKING:
    import torch

    from gemwright.arch.spec import Model
    from gemwright.nn.decoder import Decoder

_WORDS: dict[str, Any] = {"none": None, "true": True, "false": False}


def run(
    preset: Annotated[str, typer.Argument(help="A published size, as in gemma-3-270m.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="SIZE=VALUE", help="Change a size; may be given again.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Decides every weight.")] = 0,
    dtype: Annotated[str, typer.Option(help="bfloat16 or float32.")] = "bfloat16",
    tokenizer: Annotated[
        Path | None, typer.Option(help="A folder whose tokenizer to copy; it decides vocab.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that is there.")] = False,
    json: options.Json = False,
) -> None:
    """Make a checkpoint with fresh weights.

    Of a published architecture, or of its pattern in other sizes.

    Example: [bold]gemwright new gemma-3-270m --set width=256 --set depth=12 --set vocab=8192 --out tiny[/bold]
    """
    import torch

    from gemwright.loading import choose_dtype
    from gemwright.nn.init import initialise
    from gemwright.weights.save import save

    spec, extras = _spec(preset, set or [], tokenizer)
    chosen = choose_dtype(dtype, torch.bfloat16, torch.device("cpu"), [])
    with show.waiting("drawing weights"):
        model = _empty(spec, chosen)
        initialise(model, torch.Generator().manual_seed(seed))
        out = save(model, out, dtype=chosen, overwrite=overwrite, extras=extras)
    if spec.vision is not None:
        show.note(f"{spec.name} as published can see; this checkpoint holds the text half only")
    if not extras:
        show.note("there is no tokenizer in it; --tokenizer FOLDER copies one")
    count = sum(parameter.numel() for parameter in model.parameters())
    if json:
        show.as_json({"folder": str(out), "parameters": count, "seed": seed, "dtype": str(chosen).split(".")[1]})
    else:
        print(f"{out}: {show.number(count)} parameters, {len(spec.layers)} layers, seed {seed}")


def _empty(spec: Model, dtype: torch.dtype) -> Decoder:
    """The model with memory for its weights, and nothing in it."""
    import torch

    from gemwright.nn.decoder import Decoder

    try:
        with torch.device("meta"):
            model = Decoder(spec).to(dtype)
        return model.to_empty(device="cpu")
    except RuntimeError as error:  # torch has one word for all that it cannot allocate
        raise UserError(
            f"there is no room for a table of {show.number(spec.vocab)} rows and {len(spec.layers)} layers of width "
            f"{show.number(spec.width)}: {str(error).splitlines()[0]}",
            hint="choose a smaller one; see what sizes take: gemwright plan",
        ) from error


def _spec(name: str, settings: list[str], tokenizer: Path | None) -> tuple[Model, list[Path]]:
    """The model that is asked for, and the tokenizer's files."""
    from gemwright.arch import presets
    from gemwright.text.tokenizer import Tokenizer
    from gemwright.weights.side_files import tokenizer_files

    overrides = dict(_setting(setting) for setting in settings)
    extras: list[Path] = []
    if tokenizer is not None:
        tokenizer = probe(tokenizer)
        pieces = Tokenizer.load(tokenizer).vocab_size
        wanted = overrides.setdefault("vocab", pieces)
        if isinstance(wanted, int) and wanted < pieces:
            raise UserError(f"vocab={wanted} holds fewer rows than the tokenizer's {pieces} pieces", hint="raise vocab")
        extras = tokenizer_files(tokenizer if tokenizer.is_dir() else tokenizer.parent)
    row = presets.sizes(name)
    for size, value in overrides.items():
        if size in row:
            overrides[size] = _typed(size, value, row[size])
    return presets.preset(name, **overrides), extras


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UserError(f"{text!r} sets nothing", hint="write SIZE=VALUE, as in width=256")
    value = value.strip()
    if value.lower() in _WORDS:
        return name.strip(), _WORDS[value.lower()]
    for kind in (int, float):
        try:
            return name.strip(), kind(value)
        except ValueError:
            continue
    return name.strip(), value


def _typed(name: str, value: Any, published: Any) -> Any:
    """The value in the type that the published size has; a size that is None there takes any number."""
    from gemwright.weights.hf_config import MAX_DEPTH

    largest = MAX_DEPTH if name == "depth" else 1 << 31
    if isinstance(value, int) and value > largest:
        raise UserError(f"{name}={value} is more than {largest}", hint="see what a size takes: gemwright plan")
    if isinstance(published, tuple):
        words = str(value).split(",")
        if unknown := [word for word in words if word not in published]:
            raise UserError(
                f"{name} cannot hold {unknown[0]!r}", hint=f"give a list of {', '.join(dict.fromkeys(published))}"
            )
        return tuple(words)
    if isinstance(published, bool) or isinstance(value, bool):
        fits = isinstance(published, bool) and isinstance(value, bool)
    elif isinstance(published, str) or isinstance(value, str):
        fits = isinstance(published, str) and isinstance(value, str)
    elif isinstance(published, int):
        fits = isinstance(value, int) or (value is None and name == "context")
    elif isinstance(published, float):
        fits = value is None or isinstance(value, int | float)
        value = float(value) if value is not None else None
    else:
        fits = value is None or (published is None and isinstance(value, int | float))
    if not fits:
        raise UserError(f"{name}={value} is of the wrong type", hint=f"the published size is {published}")
    return value
