"""A run as data: what is trained, on what, how long. Recipes return one; `--set optim.rate=1e-4` changes a field."""

from __future__ import annotations

import difflib
import types
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from gemwright.arch.spec import Model
from gemwright.errors import UserError
from gemwright.lora import Lora
from gemwright.train import distill, pictures
from gemwright.train.distill import Distill
from gemwright.train.optim import Optim
from gemwright.train.pictures import Pictures
from gemwright.train.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Data:
    """`sources`: files, folders or the word `python`; `weights`: the share of tokens of each, relative to their sum;
    `epochs`: equal shares instead, but no source more often than this on average (UniMax); without either, all
    sources are one text, by size. `field`: where a record keeps its text; `bad`: whether a malformed record stops the
    run or is skipped and counted; `held_out`: the share of documents that is never trained on; `row`: tokens of a
    packed row, the longest document seen whole."""

    sources: tuple[str, ...]
    weights: tuple[float, ...]
    epochs: float | None
    field: str
    bad: Literal["stop", "skip"]
    held_out: float
    row: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """`tokens` that one step of the optimiser sees, in micro-batches of `micro` tokens; each in whole rows.
    `recompute`: keep only the inputs of blocks for the gradient and run each block again; the result is the same."""

    tokens: int
    micro: int
    recompute: bool


@dataclass(frozen=True, kw_only=True)
class Watch:
    """How often, in steps, to log, to evaluate on held-out text and to write a checkpoint; `keep`: how many
    checkpoints stay; `tensorboard`: write the log for TensorBoard too. None of these changes what is trained."""

    log: int
    evaluate: int
    checkpoint: int
    keep: int
    tensorboard: bool


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run.

    `start`: a folder or name of the model whose weights it begins with (None: fresh ones, drawn from `seed`).
    `tokenizer`: the folder of its files. `compute`: the dtype of the products (weights, moments and sums are float32
    throughout). `ema`: how much of the average of the weights is kept at each step (None: no average is made).
    `chosen`: which weights are evaluated and handed on at the end, the `last` ones or their `average`. `lora`: train an
    adapter of this form and nothing else (None: all weights). `distill`: learn from a teacher, too. `out`: the folder
    of logs, tokens and checkpoints. `pictures`: how those that conversations show are looked at (None: a text run, for
    which a picture is a mistake).
    """

    name: str
    model: Model
    start: str | None
    tokenizer: Path
    data: Data
    step: Step
    optim: Optim
    schedule: Schedule
    steps: int
    seed: int
    compute: Literal["float32", "bfloat16"]
    ema: float | None
    chosen: Literal["last", "average"]
    lora: Lora | None
    distill: Distill | None
    watch: Watch
    out: Path
    pictures: Pictures | None = None

    @property
    def picture_tokens(self) -> int | None:
        """Soft tokens of a picture; None where the run looks at none."""
        return None if self.pictures is None or self.model.vision is None else self.model.vision.tokens

    @property
    def rows(self) -> int:
        """Packed rows that a step takes."""
        return max(self.step.tokens // self.data.row, 1)


# The recipe decides these: a layer's fields hang together, and it writes to the folders that it names.
_FIXED = ("name", "model", "start", "tokenizer", "lora", "out")
_SEEDS = 2**63
# The parts that a run may lack and a setting may bring.
_BROUGHT = {"distill": distill.REPORTED, "pictures": pictures.FROZEN}
_WITHOUT_INFLUENCE = ("out", "tokenizer", "watch", "chosen", "step.recompute")


def facts(run: Run) -> dict[str, Any]:
    """The run as JSON values."""
    return _plain(asdict(run))


def changed(run: Run, earlier: dict[str, Any]) -> list[str]:
    """The fields that decide the result and differ from those of `earlier` (what `facts` once gave), as text."""
    now, then = _leaves(facts(run)), _leaves(earlier)
    names = [name for name in {**then, **now} if then.get(name) != now.get(name) and _decides(name)]
    return [f"{name} was {then.get(name)} and is {now.get(name)}" for name in names]


def _decides(name: str) -> bool:
    """Does the field of that dotted name change what is trained?"""
    return not any(name == free or name.startswith(f"{free}.") for free in _WITHOUT_INFLUENCE)


def check(run: Run) -> Run:
    """The run itself; raises `UserError` naming the first field whose value makes no run."""
    positive = {
        "steps": run.steps,
        "data.row": run.data.row - 1,
        "step.tokens": run.step.tokens,
        "step.micro": run.step.micro,
        "optim.rate": run.optim.rate,
        "optim.epsilon": run.optim.epsilon,
        "optim.clip": run.optim.clip,
        "watch.log": run.watch.log,
        "watch.evaluate": run.watch.evaluate,
        "watch.checkpoint": run.watch.checkpoint,
        "watch.keep": run.watch.keep,
    }
    wrong = [name for name, value in positive.items() if not value > 0]
    within = {
        "data.held_out": 0 <= run.data.held_out < 1,
        "optim.beta1": 0 <= run.optim.beta1 < 1,
        "optim.beta2": 0 <= run.optim.beta2 < 1,
        "optim.decay": run.optim.decay >= 0,
        "schedule.floor": 0 <= run.schedule.floor <= 1,
        "schedule.warmup": 0 <= run.schedule.warmup < run.steps,
        "schedule.decay": 0 <= run.schedule.decay <= 1 and (run.schedule.kind != "wsd" or _falls_after_warmup(run)),
        "ema": run.ema is None or 0 < run.ema < 1,
        "chosen": run.chosen == "last" or run.ema is not None,
        "data.row": run.model.context is None or run.data.row <= run.model.context,
        "step.micro": run.data.row <= run.step.micro <= run.step.tokens,
        "data.sources": len(run.data.sources) > 0,
        "data.weights": not run.data.weights
        or (len(run.data.weights) == len(run.data.sources) and min(run.data.weights) > 0),
        "data.epochs": run.data.epochs is None or (run.data.epochs > 0 and not run.data.weights),
        "lora": run.lora is None or (run.start is not None and not run.step.recompute),
        "seed": 0 <= run.seed < _SEEDS,
    }
    if run.distill is not None:
        distill.check(run.distill)
    _check_pictures(run)
    wrong += [name for name, fits in within.items() if not fits]
    if wrong:
        value = _leaves(facts(run)).get(wrong[0], "set here")
        hints = {
            "step.micro": f"at least a row ({run.data.row}), at most a step ({run.step.tokens})",
            "data.weights": f"one number above 0 for each of the {len(run.data.sources)} sources, or none",
            "data.epochs": "a number above 0, or none; and none where there are weights",
            "data.row": f"at least 2, at most the model's context ({run.model.context})",
            "schedule.warmup": f"0 or more, less than steps ({run.steps})",
            "schedule.decay": "a share of the steps, 0 to 1, that begins after the warm-up",
            "ema": "more than 0, less than 1, as in 0.999; none makes no average",
            "chosen": "there is no average without ema, as in ema=0.999",
            "lora": "an adapter needs a model to start from, and blocks that are not run twice (step.recompute)",
            "seed": f"0 to {_SEEDS - 1}",
        }
        raise UserError(f"{wrong[0]} cannot be {value}", hint=hints.get(wrong[0], "choose another value"))
    return run


def _check_pictures(run: Run) -> None:
    if run.pictures is None:
        return
    tuned = run.pictures.tower == "tuned"
    other = "distill" if run.distill is not None else "lora with a tuned tower" if run.lora and tuned else None
    vision = run.model.vision
    if told := pictures.problem(
        run.pictures, tokens=vision and vision.tokens, row=run.data.row, start=run.start, other=other
    ):
        raise UserError(f"pictures cannot be looked at so: {told}", hint="change pictures.tower, or take another model")


def _falls_after_warmup(run: Run) -> bool:
    return run.schedule.warmup + run.schedule.falling(run.steps) <= run.steps


def override(run: Run, settings: Sequence[str]) -> Run:
    """The run with some fields replaced: `override(run, ["optim.rate=1e-4", "steps=100"])`. Where it knows no teacher,
    a field of `distill` begins with the Gemma 3 report's way; where it looks at no pictures, one of `pictures` with a
    frozen tower.

    Values are read by the type of their field; a list is written with commas, no value as `none`. Raises `UserError`
    for an unknown field, listing the known ones, and for a value of another type.
    """
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"{setting!r} sets nothing", hint="write field=value, as in optim.rate=1e-4")
        run = _replace(run, name.strip().split("."), text.strip(), name.strip())
    return check(run)


def settable() -> tuple[str, ...]:
    """The names of the fields that `override` takes."""
    return tuple(_names(Run, ""))


def _names(kind: Any, prefix: str) -> list[str]:
    names: list[str] = []
    hints = get_type_hints(kind)
    for field in fields(kind):
        if not prefix and field.name in _FIXED:
            continue
        inner = _part(hints[field.name])
        names += _names(inner, f"{prefix}{field.name}.") if inner else [prefix + field.name]
    return names


def _part(kind: Any) -> Any:
    """The dataclass that a field of this type is, or may be; else None."""
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return next((one for one in kinds if is_dataclass(one)), None)


def _replace(value: Any, path: list[str], text: str, name: str) -> Any:
    """The dataclass `value` with the field at `path` replaced by what `text` says."""
    if name not in settable():
        near = difflib.get_close_matches(name, settable(), n=2, cutoff=0.7)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UserError(f"a run has no field {name!r}", hint=f"{hint}fields: {', '.join(settable())}")
    if len(path) > 1:
        part = getattr(value, path[0])
        part = _BROUGHT[path[0]] if part is None else part
        return replace(value, **{path[0]: _replace(part, path[1:], text, name)})
    kind = get_type_hints(type(value))[path[0]]
    try:
        return replace(value, **{path[0]: _parse(text, kind)})
    except ValueError as error:
        raise UserError(f"{name} cannot be {text!r}", hint=str(error)) from error


def _parse(text: str, kind: Any) -> Any:
    """`text` as a value of the type `kind`. Raises `ValueError` saying what is wanted."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        if text not in arguments:
            raise ValueError(f"it is one of {', '.join(arguments)}")
        return text
    if origin in (Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        return None if text.lower() == "none" else _parse(text, inner[0])
    if origin is tuple:
        return tuple(_parse(part.strip(), arguments[0]) for part in text.split(",") if part.strip())
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("it is true or false")
        return text.lower() == "true"
    if kind is int:
        return _integer(text)
    if kind is float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if number != number or abs(number) == float("inf"):
            raise ValueError("it is a number, such as 0.003 or 3e-3")
        return number
    return kind(text)


def _integer(text: str) -> int:
    try:
        return int(text)  # 8192 and 8_192
    except ValueError:
        pass
    try:
        if float(text).is_integer():
            return int(float(text))  # 1e6
    except (ValueError, OverflowError):
        pass
    raise ValueError("it is a whole number")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    """A tree of dicts as one dict with dotted names. Lists are leaves."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        name: leaf
        for key, value in tree.items()
        for name, leaf in _leaves(value, f"{prefix}.{key}" if prefix else key).items()
    }
