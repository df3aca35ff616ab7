"""Arguments and options that several commands share, and what they do to torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemwright.cli import show
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.engine.request import Sampling
    from gemwright.lm import LM

_MODEL = "A folder, a .gguf file, a hub or preset name; the embedded model by default."

Model = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL, show_default=False)]
ModelOption = Annotated[str, typer.Option("--model", "-m", help=_MODEL, show_default=False)]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Dtype = Annotated[str, typer.Option(help="auto (the file's own), bfloat16 or float32.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads to compute with.", show_default="torch's choice")]
Quant = Annotated[
    str | None,
    typer.Option(
        help="Round the weights on the way in: q8_0, q4_0, q4_0-all, int8, int4 or sfp8; or bf16.",
        show_default="as the files have them",
    ),
]
Int8Cache = Annotated[
    bool,
    typer.Option("--int8-cache", help="Remember keys and values of global layers in bytes: half the memory."),
]
Adapter = Annotated[
    Path | None, typer.Option(help="A folder with a LoRA adapter, as PEFT writes it.", show_default=False)
]
NamedAdapter = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        metavar="[NAME=]FOLDER",
        help="A LoRA adapter, as PEFT writes it. A folder alone is added to the weights before they are rounded; "
        "NAME=FOLDER works beside them, as they are.",
        show_default=False,
    ),
]
Adapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        metavar="[NAME=]FOLDER",
        help="A LoRA adapter, as PEFT writes it. NAME=FOLDER, which may be given again, is a model of its own that "
        "requests name, beside the others; a folder alone is added to the weights for all of them.",
        show_default=False,
    ),
]
Speculate = Annotated[
    str,
    typer.Option(
        help="Run what may come next ahead: lookup guesses from the text so far. auto: where no text can change by it.",
        metavar="[auto|lookup|off]",
    ),
]
DraftModel = Annotated[
    str | None,
    typer.Option("--draft", help="A smaller model of the same tokenizer that guesses.", show_default=False),
]
Sequences = Annotated[
    int | None, typer.Option(min=1, help="Requests at once.", show_default="4, fewer where memory is short")
]
Reuse = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Beginnings of prompts to keep, so that what begins alike is not read again.",
        show_default="8, if memory allows",
    ),
]
ReuseLimit = Annotated[
    str | None, typer.Option(help="What these may take together, such as 2G.", show_default="what there is")
]
Disk = Annotated[
    Path | None,
    typer.Option(help="A folder for those that leave memory; the next start finds them.", show_default="none"),
]
DiskLimit = Annotated[str, typer.Option(help="What that folder may hold.")]
Images = Annotated[
    list[Path] | None, typer.Option("--image", help="A picture to show; may be given again.", show_default=False)
]
PanScan = Annotated[bool, typer.Option("--pan-scan", help="Show wide and tall pictures whole and in crops.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a machine to read.")]

MaxTokens = Annotated[int, typer.Option(min=0, help="Tokens to draw at most; 0: until the context is full.")]
Temperature = Annotated[
    float | None, typer.Option(help="0 takes the likeliest token.", show_default="the checkpoint's")
]
TopK = Annotated[int | None, typer.Option(help="Draw among that many tokens; 0: all.", show_default="the checkpoint's")]
TopP = Annotated[float | None, typer.Option(help="Draw from that much probability.", show_default="the checkpoint's")]
MinP = Annotated[
    float | None, typer.Option(help="Drop what is less likely than this share of the best.", show_default="0")
]
Penalty = Annotated[float | None, typer.Option(help="Above 1: repeat less.", show_default="1")]
Seed = Annotated[int | None, typer.Option(help="The same seed draws the same text.", show_default="another each time")]
Context = Annotated[
    int | None, typer.Option(min=2, help="Tokens of prompt and answer together.", show_default="the model's")
]


def use_threads(threads: int | None) -> None:
    """Compute with that many threads."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def load(
    model: str,
    device: str,
    dtype: str,
    threads: int | None,
    context: int | None = None,
    quant: str | None = None,
    adapter: Path | None = None,
    int8_cache: bool = False,
    speculate: str = "auto",
    draft: str | None = None,
    adapters: dict[str, Path] | None = None,
    **room: Any,
) -> LM:
    """The model with its tokenizer, `adapter` in its weights and `adapters` beside them; what loading has to say goes
    to stderr. `room`: see `gemwright.load`."""
    from gemwright.lm import load as load_lm

    use_threads(threads)
    with show.waiting(f"loading {model}"):
        settings = {"device": device, "dtype": dtype, "context": context}
        more = {"adapters": adapters, "speculate": speculate, "draft": draft, **room}
        lm = load_lm(model, **settings, quant=quant, adapter=adapter, int8_cache=int8_cache, **more)
    for note in lm.notes:
        show.note(note)
    return lm


def read_adapters(given: list[str] | None) -> tuple[Path | None, dict[str, Path]]:
    """The adapter for the weights, and those with names. A path's own `=` stands behind a slash, such as `./a=b`."""
    inside, named = None, {}
    for one in given or []:
        name, equals, folder = one.partition("=")
        if not equals or "/" in name or os.sep in name:
            if inside is not None:
                raise UserError(f"the weights can take one adapter: {inside} or {one}", hint="name them: NAME=FOLDER")
            inside = Path(one)
        elif not name or not folder:
            raise UserError(f"{one!r} names no adapter", hint="give NAME=FOLDER, or a folder alone")
        elif name in named:
            raise UserError(f"two adapters are called {name!r}", hint="choose another name")
        else:
            named[name] = Path(folder)
    return inside, named


def read_adapter(given: list[str] | None) -> tuple[Path | None, dict[str, Path], str | None]:
    """The same for a command that reads one text, and the name that it is read under. Raises `UserError` for two."""
    inside, named = read_adapters(given)
    if len(named) > 1:
        raise UserError(f"a text is read with one adapter, not {' and '.join(named)}", hint="give one NAME=FOLDER")
    return inside, named, next(iter(named), None)


def sampling(
    *,
    max_tokens: int,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    repetition_penalty: float | None,
    seed: int | None,
    stop: list[str] | None = None,
    logprobs: int | None = None,
) -> Sampling:
    """The options as the engine reads them; in stop strings `\\n` and `\\t` are line break and tab."""
    from gemwright.engine.request import Sampling

    return Sampling(
        max_tokens=max_tokens or None,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        stop=tuple(text.replace("\\n", "\n").replace("\\t", "\t") for text in stop or ()),
        logprobs=logprobs,
    )


def read_stdin() -> str:
    """All of stdin as text."""
    import sys

    return decode(sys.stdin.buffer.read(), "stdin")


def read_file(file: Path) -> str:
    """A file as text. Raises `UserError` naming one that cannot be read."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}", hint="check the path") from error
    return decode(data, str(file))


def decode(data: bytes, source: str) -> str:
    """Bytes as UTF-8 text, line ends as they are; `source` is named where they are no text."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{source} is not UTF-8 text: {error}", hint="convert it first") from error
