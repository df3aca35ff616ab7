"""Adapters on a built model: linear modules that add a product of low rank to a frozen matrix (LoRA).

The matrix stays the very parameter that it was, under its name, so that nothing but the adapter is trained and
everything that knows the plain model's names still finds them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.linear import Linear
from gemwright.ops.low_rank import Adapter, LowRank

ALL = "all-linear"  # a target that means every linear module of the blocks
_ODD = 2654435769  # near 2³² divided by the golden ratio: it spreads the modules' seeds


@dataclass(frozen=True, kw_only=True)
class Lora:
    """How adapters are made. `targets`: last parts of modules' paths ("query", "mlp.down"), or "all-linear";
    `dropout`: the share of a module's inputs that is dropped in training; `alpha`, `rslora`: see `ops.low_rank`."""

    rank: int
    alpha: float
    targets: tuple[str, ...]
    dropout: float
    rslora: bool


@dataclass(frozen=True, kw_only=True)
class Attached:
    """What was attached: the paths of the adapted modules, and how many numbers they train."""

    modules: tuple[str, ...]
    parameters: int

    @property
    def count(self) -> int:
        """How many modules were adapted."""
        return len(self.modules)


class _Noise:
    """The dropout of a model's adapters: one draw of the generator for each pass in training, from which every module
    makes its own mask. So a block that is recomputed for its gradient meets the mask that it had."""

    def __init__(self, share: float, generator: torch.Generator) -> None:
        self.share, self.generator, self.seed = share, generator, 0

    def draw(self, model: nn.Module, inputs: tuple[Any, ...]) -> None:
        """A hook before the model's forward."""
        if model.training:
            drawn = torch.randint(1 << 31, (), generator=self.generator, device=self.generator.device)
            self.seed = int(drawn)

    def drop(self, x: Tensor, number: int) -> Tensor:
        generator = torch.Generator(x.device).manual_seed((self.seed + number * _ODD) % (1 << 32))
        kept = torch.empty_like(x).bernoulli_(1 - self.share, generator=generator)
        return x * kept / (1 - self.share)


class LoraLinear(nn.Module):
    """`x @ weight.T + bias + scale · (drop(x) @ A.T) @ B.T`, in place of a `Linear` whose parameters it takes over.

    It is no `Linear` itself: a swap that packs matrices would take the weight and forget the adapter.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, linear: Linear, pair: LowRank, noise: _Noise | None, number: int) -> None:
        super().__init__()
        self.weight = linear.weight
        self.register_parameter("bias", linear.bias)
        # Float32 whatever the weight is: steps of training are too small for bfloat16.
        self.lora_a, self.lora_b = (
            nn.Parameter(half.detach().to(linear.weight.device, torch.float32, copy=True)) for half in (pair.a, pair.b)
        )
        self.alpha, self.rslora, self.scale = pair.alpha, pair.rslora, pair.scale
        self._noise, self._number = noise, number

    def pair(self) -> LowRank:
        """The adapter as it is now; its tensors are the parameters' own memory."""
        a, b = self.lora_a.detach(), self.lora_b.detach()
        return LowRank(a=a, b=b, alpha=self.alpha, rslora=self.rslora)

    def forward(self, x: Float[Tensor, "N I"]) -> Float[Tensor, "N O"]:
        """In the dtype of the plain product; the adapter's share is float32 and rounded with the sum."""
        plain = F.linear(x, self.weight, self.bias)
        seen = x.to(self.lora_a.dtype)
        if self.training and self._noise is not None:
            seen = self._noise.drop(seen, self._number)
        low = F.linear(F.linear(seen, self.lora_a), self.lora_b)
        return (plain + self.scale * low).to(plain.dtype)

    def gelu(self, x: Float[Tensor, "N I"]) -> Float[Tensor, "N O"]:
        """The same, through the tanh form of gelu."""
        return F.gelu(self(x), approximate="tanh")


class MergedLinear(Linear):
    """A plain `Linear` whose weight holds the sum. What it was made of stands aside, where neither files nor
    optimisers see it: a rounded sum cannot be taken apart again, so only a kept original gives back the same bits."""

    def __init__(self, adapted: LoraLinear) -> None:
        super().__init__(*reversed(adapted.weight.shape), bias=adapted.bias is not None, device="meta")
        weight = adapted.weight.detach()
        self.weight = nn.Parameter(adapted.pair().added(weight).to(weight.dtype), requires_grad=False)
        self.bias = adapted.bias
        self.aside = (adapted,)  # in a tuple, for a module would be registered


# ---------------------------------------------------------------------------------------------------------- attaching


def attach(model: Decoder, lora: Lora, generator: torch.Generator) -> Attached:
    """Put fresh adapters on the modules that `lora` names, and freeze everything else.

    A is uniform within ±1/√I, drawn from `generator` in the order of the modules, B is 0: the model computes what it
    did. Dropout draws from `generator` once for each pass in training. Raises `UserError` for a target that is no
    linear module of the model and for impossible numbers, `ValueError` where adapters are attached already.
    """
    _check(lora)
    linears = _linears(model)
    chosen = _choose(linears, lora.targets, model.spec.name)
    pairs = {}
    for path, linear in chosen.items():
        outputs, inputs = linear.weight.shape
        room = torch.empty(lora.rank, inputs, device=generator.device)
        a = room.uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)
        pairs[path] = LowRank(a=a, b=torch.zeros(outputs, lora.rank), alpha=lora.alpha, rslora=lora.rslora)
    return _put(model, pairs, lora.dropout, generator)


def adopt(model: Decoder, adapter: Adapter, generator: torch.Generator) -> Attached:
    """Put an adapter that exists on a plain model, to be trained further or merged; else as `attach`.

    Raises `ValueError` for a module that the model does not have, or one of another shape.
    """
    linears = _linears(model)
    for path, pair in adapter.modules.items():
        shape = tuple(linears[path].weight.shape) if path in linears else None
        if shape != (pair.b.shape[0], pair.a.shape[1]):
            raise ValueError(f"an adapter for {path} of {pair.b.shape[0]} × {pair.a.shape[1]}; the model's is {shape}")
    return _put(model, adapter.modules, adapter.dropout, generator)


def adapter_of(model: Decoder, base: str | None = None) -> Adapter:
    """The adapter that is attached, or merged; its tensors are the model's own. Raises `ValueError` if there is none.

    `base`: what it was trained on, a name or a folder.
    """
    found = {path: _adapted(module) for path, module in _ours(model)}
    noise = [module._noise for module in found.values() if module._noise is not None]
    return Adapter(
        modules={path: module.pair() for path, module in found.items()},
        dropout=noise[0].share if noise else 0.0,
        base=base,
    )


def _check(lora: Lora) -> None:
    faults = {
        f"a rank of {lora.rank}": lora.rank < 1,
        f"an alpha of {lora.alpha:g}": not (math.isfinite(lora.alpha) and lora.alpha > 0),
        f"a dropout of {lora.dropout:g}": not 0 <= lora.dropout < 1,
        "no targets": not lora.targets,
    }
    if wrong := [fault for fault, present in faults.items() if present]:
        raise UserError(
            f"an adapter cannot have {' and '.join(wrong)}", hint="rank ≥ 1, alpha > 0, 0 ≤ dropout < 1, some targets"
        )


def _linears(model: Decoder) -> dict[str, Linear]:
    """The plain linear modules by path, in the model's order."""
    if any(isinstance(module, LoraLinear | MergedLinear) for module in model.modules()):
        raise ValueError("this model has adapters already: detach them first")
    return {path: module for path, module in model.named_modules() if isinstance(module, Linear)}


def is_target(path: str, target: str) -> bool:
    """Whether a target means the module of that path: all of it, or its last parts."""
    return target == ALL or path == target or path.endswith(f".{target}")


def _choose(linears: Mapping[str, Linear], targets: tuple[str, ...], name: str) -> dict[str, Linear]:
    if not linears:
        raise UserError(f"{name} has no plain matrices to adapt", hint="load it without packing or quantisation")
    words = sorted({path.rpartition(".")[2] for path in linears})
    if idle := [target for target in targets if not any(is_target(path, target) for path in linears)]:
        near = {target: difflib.get_close_matches(target, [*words, *linears], n=1, cutoff=0.5) for target in idle}
        guesses = "; ".join(f"{target} may be {close[0]}" for target, close in near.items() if close)
        raise UserError(
            f"{name} has no linear module called {', '.join(idle)}",
            hint=f"{guesses}{'; ' if guesses else ''}there are: {', '.join(words)}, or {ALL}",
        )
    return {path: linear for path, linear in linears.items() if any(is_target(path, target) for target in targets)}


def _put(model: Decoder, pairs: Mapping[str, LowRank], dropout: float, generator: torch.Generator) -> Attached:
    noise = _Noise(dropout, generator) if dropout else None
    model.requires_grad_(False)
    count = 0
    for number, (path, pair) in enumerate(pairs.items()):
        linear = model.get_submodule(path)
        assert isinstance(linear, Linear)
        adapted = LoraLinear(linear, pair, noise, number).train(linear.training)
        count += adapted.lora_a.numel() + adapted.lora_b.numel()
        _replace(model, path, adapted)
    if noise is not None:
        model.register_forward_pre_hook(noise.draw)
    return Attached(modules=tuple(pairs), parameters=count)


def _replace(model: Decoder, path: str, module: nn.Module) -> None:
    parent, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


# ------------------------------------------------------------------------------------------------- merging, detaching


@torch.no_grad()
def merge(model: Decoder, *, keep: bool = True) -> None:
    """Add every adapter to its matrix: `weight + scale · B A` in float32, rounded once to the weight's dtype.

    The model is plain then: it can be exported, packed and quantised. `keep` holds the originals for `unmerge`, which
    takes the memory of the adapted matrices once more; without it they are given back one by one, and every parameter
    wants a gradient again. Raises `ValueError` where nothing is attached, or all is merged and kept already.
    """
    found = dict(_ours(model))
    if keep and not any(isinstance(module, LoraLinear) for module in found.values()):
        raise ValueError("these adapters are merged already")
    paths = list(found)
    while paths:
        path = paths.pop()
        module = found.pop(path)  # the last hold on the original, once it is replaced
        merged = MergedLinear(module) if isinstance(module, LoraLinear) else module
        _replace(model, path, (merged if keep else _plain(merged)).train(module.training))
    if not keep:
        _release(model)


def unmerge(model: Decoder) -> None:
    """Take merged adapters out again: the weights have the very bits that they had, the adapters are attached.

    Raises `ValueError` where nothing is merged.
    """
    merged = [(path, module) for path, module in _ours(model) if isinstance(module, MergedLinear)]
    if not merged:
        raise ValueError("these adapters are not merged")
    for path, module in merged:
        _replace(model, path, module.aside[0].to(module.weight.device).train(module.training))


def detach(model: Decoder) -> None:
    """Remove adapters, attached or merged: the plain model as it was, every parameter wanting a gradient."""
    for path, module in _ours(model):
        _replace(model, path, _plain(_adapted(module)).train(module.training))
    _release(model)


def _plain(module: LoraLinear | MergedLinear) -> Linear:
    plain = Linear(*reversed(module.weight.shape), bias=module.bias is not None, device="meta")
    plain.weight, plain.bias = module.weight, module.bias  # type: ignore[assignment]
    return plain


def _release(model: Decoder) -> None:
    """No adapter is left: nothing is drawn for them any more, and everything may be trained."""
    hooks = model._forward_pre_hooks
    for key in [key for key, hook in hooks.items() if isinstance(getattr(hook, "__self__", None), _Noise)]:
        del hooks[key]
    model.requires_grad_(True)


def _ours(model: Decoder) -> Iterator[tuple[str, LoraLinear | MergedLinear]]:
    found = [pair for pair in model.named_modules() if isinstance(pair[1], LoraLinear | MergedLinear)]
    if not found:
        raise ValueError("this model has no adapters")
    return iter(found)  # type: ignore[arg-type]


def _adapted(module: LoraLinear | MergedLinear) -> LoraLinear:
    return module.aside[0].to(module.weight.device) if isinstance(module, MergedLinear) else module
