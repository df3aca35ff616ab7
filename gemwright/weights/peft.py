"""PEFT's adapter folders: adapter_config.json and adapter_model.safetensors ↔ addends by the model's names.

A tensor is called `base_model.model.` + the module's name in transformers + `.lora_A.weight` or `.lora_B.weight`. Every
tensor must have its module, every module that the config names must have both its tensors; whatever PEFT knows that is
no plain addend (DoRA, trained biases, whole modules) is refused by its name.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from gemwright.arch.spec import Model
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.linear import Linear
from gemwright.ops.low_rank import Adapter, LowRank
from gemwright.paths import probe
from gemwright.weights.fields import list_folder, read_json, shorten
from gemwright.weights.names import HUGGING_FACE, PREFIXES, Names, is_vision, table
from gemwright.weights.peft_config import CONFIG, PeftConfig, parse, tree_of
from gemwright.weights.safetensors import TensorFile
from gemwright.weights.save import Replacing, write_json
from gemwright.weights.stream import FLOATS

WEIGHTS = "adapter_model.safetensors"
_ROOT = "base_model.model."
_HALF = re.compile(re.escape(_ROOT) + r"(.+)\.lora_([AB])\.weight")


@dataclass(frozen=True, kw_only=True)
class Found:
    """An adapter that was read; `notes` are remarks for people."""

    adapter: Adapter
    notes: tuple[str, ...]


def our_target(family: str, word: str) -> str:
    """A target's name here, for its name in transformers ("q_proj", "self_attn.q_proj", a whole path); any other word
    stays as it is."""
    for prefix in PREFIXES:
        if word.startswith(prefix) and (ours := table(family, prefix).ours(f"{word}.weight")):
            return ours.removesuffix(".weight")
    for theirs, ours in HUGGING_FACE[family][1]:
        if theirs.endswith(".weight"):
            module, mine = theirs.removesuffix(".weight"), ours.removesuffix(".weight")
            if word == module:
                return mine
            if word == module.rpartition(".")[2]:
                return mine.rpartition(".")[2]
    return word


def _shapes(spec: Model) -> dict[str, tuple[int, int]]:
    """The linear modules of a model by path: outputs and inputs."""
    with torch.device("meta"):
        model = Decoder(spec)
    linears = {path: module for path, module in model.named_modules() if isinstance(module, Linear)}
    return {path: (linear.out_features, linear.in_features) for path, linear in linears.items()}


# ------------------------------------------------------------------------------------------------------------ reading


def read(folder: Path | str, spec: Model) -> Found:
    """The adapter in a folder that PEFT (or `write`) made, float32, for a model.

    Raises `UserError` for files that are missing or damaged, for what is no plain LoRA, and where tensors, config and
    modules do not match one to one, naming those without a partner and the nearest names.
    """
    folder = probe(folder)
    _check_folder(folder)
    config, notes = parse(read_json(folder / CONFIG), str(folder / CONFIG))
    file = TensorFile(folder / WEIGHTS)
    reader = _Reader(folder, spec, config)
    for name in file.entries:
        reader.take(name)
    halves = reader.paired()
    if reader.vision:
        notes.append(f"{len(reader.vision)} tensors of the adapter stay in the file: they are for the vision half")
    modules = {
        path: _pair(file, halves[path], path, shape, reader) for path, shape in reader.shapes.items() if path in halves
    }
    adapter = Adapter(modules=modules, dropout=config.dropout, base=config.base)
    if adapter.is_idle:
        notes.append(f"the adapter in {folder} changes nothing: all its products are 0")
    return Found(adapter=adapter, notes=tuple(notes))


def _check_folder(folder: Path) -> None:
    present = {path.name for path in list_folder(folder)}
    if CONFIG not in present:
        raise UserError(f"{folder} holds no {CONFIG}", hint="give the folder that PEFT's save_pretrained wrote")
    if WEIGHTS not in present:
        other = "adapter_model.bin" in present
        raise UserError(
            f"{folder} holds no {WEIGHTS}" + (", only adapter_model.bin" if other else ""),
            hint="save it again with PEFT, as safetensors" if other else "fetch the folder again",
        )


class _Reader:
    """Pairs a file's names with modules, and collects what has no partner."""

    def __init__(self, folder: Path, spec: Model, config: PeftConfig) -> None:
        self.folder, self.config, self.family = folder, config, spec.family
        self.shapes = _shapes(spec)
        self.prefix = _prefix(spec)  # until a tensor shows another
        self.vision: list[str] = []
        self._halves: dict[str, dict[str, str]] = {}
        self._strangers: list[str] = []

    @property
    def names(self) -> Names:
        return table(self.family, self.prefix)

    def take(self, name: str) -> None:
        """One tensor of the file."""
        found = _HALF.fullmatch(name)
        module = found[1] if found else name.removeprefix(_ROOT)
        if found is None or (path := self._path(module)) is None:
            (self.vision if is_vision(module) else self._strangers).append(name)
            return
        halves = self._halves.setdefault(path, {})
        if found[2] in halves:
            raise self.refuse(f"{shorten(name)} and {shorten(halves[found[2]])} are for the same module")
        halves[found[2]] = name

    def _path(self, module: str) -> str | None:
        """Our path for a module's name in transformers."""
        for prefix in sorted(PREFIXES, key=len, reverse=True):
            if module.startswith(prefix):
                ours = (table(self.family, prefix).ours(f"{module}.weight") or "").removesuffix(".weight")
                if ours in self.shapes:
                    self.prefix = prefix
                    return ours
        return None

    def paired(self) -> dict[str, dict[str, str]]:
        """A and B of each module by its path; `UserError` where anything lacks its partner."""
        theirs = {path: self.module(path) for path in self.shapes}
        wanted = {path for path, module in theirs.items() if self.config.wants(module)}
        expected = {f"{_ROOT}{theirs[path]}.lora_{half}.weight" for path in theirs if path in wanted for half in "AB"}
        present = {name for halves in self._halves.values() for name in halves.values()}
        strangers = [*self._strangers, *(name for name in present if name not in expected)]
        modules = [*theirs.values(), *(name.removeprefix(_ROOT).rpartition(".lora_")[0] for name in self.vision)]
        self._refuse_unmatched(strangers, sorted(expected - present), self.config.idle(modules))
        return self._halves

    def module(self, path: str) -> str:
        """A module's name in transformers."""
        return self.names.theirs(f"{path}.weight").removesuffix(".weight")

    def _refuse_unmatched(self, strangers: list[str], missing: list[str], idle: list[str]) -> None:
        if not strangers and not missing and not idle:
            return
        linears = [self.module(path) for path in self.shapes]
        tensors = [f"{_ROOT}{module}.lora_{half}.weight" for module in linears for half in "AB"]
        words = sorted({module.rpartition(".")[2] for module in linears})
        said, near = [], []
        if strangers:
            said.append(f"{len(strangers)} tensors have no module that is to be adapted: {_listed(strangers)}")
            near += _near(strangers, missing) or _near(strangers, tensors)
        if missing:
            said.append(f"{len(missing)} tensors are missing: {_listed(missing)}")
            near += [] if strangers else _near(missing, self._strangers)
        if idle:
            said.append(f"no linear module is called {_listed(idle)}, which {CONFIG} names")
            near += _near(idle, words)
        raise self.refuse("; ".join(said), "; ".join(near) or f"was it made for another model? see {CONFIG}")

    def refuse(self, reason: str, hint: str = "the folder is damaged; fetch it again") -> UserError:
        """The error for a folder that cannot be used; the caller raises it."""
        return UserError(f"{self.folder}: {reason}", hint=hint)


def _listed(names: Iterable[str], limit: int = 4) -> str:
    listed = list(names)
    return ", ".join(shorten(name, 120) for name in listed[:limit]) + (", …" if len(listed) > limit else "")


def _near(names: list[str], known: list[str]) -> list[str]:
    close = {name: difflib.get_close_matches(name, known[:2000], n=1, cutoff=0.5) for name in names[:2]}
    return [f"{shorten(name, 120)} may be {shorten(best[0], 120)}" for name, best in close.items() if best]


def _pair(file: TensorFile, halves: dict[str, str], path: str, shape: tuple[int, int], reader: _Reader) -> LowRank:
    module = reader.module(path)
    rank, alpha = reader.config.rank_of(module), reader.config.alpha_of(module)
    tensors = {}
    for half, expected in (("A", (rank, shape[1])), ("B", (shape[0], rank))):
        entry = file.entries[halves[half]]
        if entry.shape != expected:
            raise reader.refuse(
                f"{shorten(entry.name, 120)} has shape {list(entry.shape)}; model and {CONFIG} ask for "
                f"{list(expected)}",
                f"was it made for another model? see {CONFIG}",
            )
        if entry.dtype not in FLOATS:
            raise reader.refuse(f"{shorten(entry.name, 120)} is stored as {entry.code}", "give the float version")
        tensors[half] = file.view(entry.name).to(torch.float32, copy=True)
    return LowRank(a=tensors["A"], b=tensors["B"], alpha=alpha, rslora=reader.config.rslora)


# ------------------------------------------------------------------------------------------------------------ writing


def _prefix(spec: Model) -> str:
    """What stands before a text model's names in transformers' memory."""
    return "model.language_model." if spec.vision else "model."


def write(folder: Path | str, spec: Model, adapter: Adapter) -> Path:
    """Write an adapter as PEFT does, whole or not at all: float32, in a new folder.

    Raises `UserError` for a folder that is not empty or cannot be written, `ValueError` for an adapter of nothing, or
    of modules that the model does not have.
    """
    if not adapter.modules:
        raise ValueError("an adapter of no module cannot be written")
    shapes, names = _shapes(spec), table(spec.family, _prefix(spec))
    if strangers := [path for path in adapter.modules if path not in shapes]:
        raise ValueError(f"{spec.name} has no linear module {strangers[0]}")
    theirs = {path: names.theirs(f"{path}.weight").removesuffix(".weight") for path in shapes}
    tensors = {}
    for path, pair in adapter.modules.items():
        for half, value in (("A", pair.a), ("B", pair.b)):
            # A copy of its own, for the format refuses memory that two tensors share.
            name = f"{_ROOT}{theirs[path]}.lora_{half}.weight"
            tensors[name] = value.detach().to("cpu", torch.float32, copy=True).contiguous()
    config = _config(spec, adapter, theirs)
    target = probe(folder)
    with Replacing(target, overwrite=False) as partial:
        save_file(tensors, partial / WEIGHTS, metadata={"format": "pt"})
        write_json(partial / CONFIG, tree_of(config))
    return target


def _config(spec: Model, adapter: Adapter, theirs: Mapping[str, str]) -> PeftConfig:
    pairs = {theirs[path]: pair for path, pair in adapter.modules.items()}
    if len({pair.rslora for pair in pairs.values()}) > 1:
        raise ValueError("PEFT's config has one use_rslora for all modules")
    words = tuple(sorted({module.rpartition(".")[2] for module in pairs}))
    meant = {module for module in theirs.values() if module.rpartition(".")[2] in words}
    # Short names would also mean modules of the vision half.
    targets = words if meant == pairs.keys() and spec.vision is None else tuple(sorted(pairs))
    (rank, _), *_ = Counter(pair.rank for pair in pairs.values()).most_common(1)
    (alpha, _), *_ = Counter(pair.alpha for pair in pairs.values()).most_common(1)
    return PeftConfig(
        rank=rank,
        alpha=alpha,
        rslora=next(iter(pairs.values())).rslora,
        dropout=adapter.dropout,
        targets=targets,
        excluded=(),
        layers=None,
        ranks={module: pair.rank for module, pair in pairs.items() if pair.rank != rank},
        alphas={module: pair.alpha for module, pair in pairs.items() if pair.alpha != alpha},
        base=adapter.base,
    )
