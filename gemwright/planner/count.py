"""Bytes of a model by what they are for, counted on the real modules and stores, none of which is ever filled.

Parameters are those of the decoder built on the meta device, the cache is the allocator's own. Activations come from
running one step of the real decoder under `FakeTensorMode`: meta tensors that answer to "cpu", so that the step takes
the routes that a CPU takes. A model that is run packed is packed here too, by the same swaps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gemwright.arch.spec import Attention, Layer, Model, Vision
from gemwright.cache.allocate import SLACK, allocate
from gemwright.loading import hold_adapter
from gemwright.nn.adapters import Adapters
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.nn.norm import RMSNorm
from gemwright.ops.matmul import Form
from gemwright.planner.guesses import bit_equal
from gemwright.planner.live import LiveBytes
from gemwright.quant import swap
from gemwright.quant.scheme import SCHEMES

# The forms of the parameters that are packed, by name, in pairs so that they have a hash; none: the model is plain.
Forms = tuple[tuple[str, Form], ...]
_Kind = tuple[Layer, Forms]  # a layer, and the forms of its own parameters

PARTS = ("table", "attention", "recurrent", "mlp", "norms")

BEGUN = 4  # pictures that an engine has on their way through the tower at once, at most
SAMPLING_ROWS = 5  # float32 rows of the vocabulary that drawing one token takes: logits, a copy, softmax, order, sum


def parameters(spec: Model) -> dict[str, int]:
    """Parameters of the decoder by part (`PARTS`). Norms of queries and keys count as norms."""
    return dict(_parameters(spec))


@lru_cache(maxsize=8)
def _parameters(spec: Model) -> tuple[tuple[str, int], ...]:
    with torch.device("meta"):
        model = Decoder(spec)
    counts: dict[str, int] = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        counts[_part(name, spec)] += parameter.numel()
    return tuple(counts.items())


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Bytes of the loaded weights by part, rows that packing adds included, and of the `copies` that packed blocks keep
    beside them: gains of norms in float32, gates packed again, room to begin on a large page."""

    parts: dict[str, int]
    copies: int


@lru_cache(maxsize=8)
def weights(spec: Model, dtype: torch.dtype, forms: Forms, norms: torch.dtype | None = None) -> Weights:
    """What the weights take: those of `forms` packed, the others in `dtype`, but norms beside packed ones in `norms`
    where that is said."""
    if not forms:
        counts = {part: number * dtype.itemsize for part, number in parameters(spec).items()}
        return Weights(parts=counts, copies=0)
    with torch.device("meta"):
        model = Decoder(spec)
    sizes = {
        name: parameter.numel() * (norms or dtype if "norm" in name else dtype).itemsize
        for name, parameter in model.named_parameters()
    }
    for name, matrix in swap.empty_matrices(model, SCHEMES["bf16"], "meta", dict(forms)).items():
        sizes[name] = matrix.nbytes
    parts: dict[str, int] = dict.fromkeys(PARTS, 0)
    for name, size in sizes.items():
        parts[_part(name, spec)] += size
    outside, kinds = _kinds(spec, dict(forms))
    alone = _held(spec, dtype, outside, [], norms)
    layers = sum(count * (_held(spec, dtype, outside, [kind], norms) - alone) for kind, count in kinds.items())
    return Weights(parts=parts, copies=max(0, alone + layers - sum(parts.values())))


def _held(
    spec: Model, dtype: torch.dtype, outside: dict[str, Form], kinds: list[_Kind], norms: torch.dtype | None
) -> int:
    """Bytes that the model with a layer of each of these kinds holds, whatever they are for."""
    few, forms = _model_of(spec, outside, kinds)
    with torch.device("meta"):
        model = Decoder(few)
    with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as live:
        _fill(model, dtype, forms, norms)
    return live.live


def _part(name: str, spec: Model) -> str:
    if name.startswith("embed."):
        return "table"
    if "norm" in name:
        return "norms"
    _, index, block, _ = name.split(".", 3)
    if block == "mlp":
        return "mlp"
    return "attention" if isinstance(spec.layers[int(index)].mixer, Attention) else "recurrent"


@lru_cache(maxsize=8)
def vision_parameters(vision: Vision, width: int) -> int:
    """Parameters of the tower that sees for a decoder of `width`: its encoder, and the norm and the product behind it.
    Text models are loaded without them; the number says what is left in the files."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Tower(vision, width).parameters())


@lru_cache(maxsize=8)
def encoding(vision: Vision, width: int, dtype: torch.dtype) -> int:
    """Bytes that encoding pictures takes beside the tower's weights: the streams of `BEGUN` of them on their way, and
    the most that a block of one has alive."""
    spec = vision.tower
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.device("meta"):
        tower = Tower(replace(vision, tower=replace(spec, depth=1)), width)  # equal blocks need equal memory
    with mode, LiveBytes() as weights:
        for module in tower.modules():
            for name, old in list(module.named_parameters(recurse=False)):
                new = torch.empty(old.shape, dtype=dtype, device="cpu")
                setattr(module, name, nn.Parameter(new, requires_grad=False))
    with mode, torch.no_grad(), LiveBytes(before=weights) as one:
        started = tower.encoder.begin(torch.empty(1, 3, spec.image, spec.image))
        started.advance()
        tower.projector(started.patches())
    return one.peak + (BEGUN - 1) * spec.grid**2 * spec.width * torch.float32.itemsize


def cache_bytes(
    spec: Model, *, context: int, batch: int, dtype: torch.dtype, slack: int = SLACK, int8: bool = False, spare: int = 0
) -> dict[str, int]:
    """Bytes of the cache of `batch` sequences of `context` tokens: "global", "local" and "recurrent" layers. `int8`,
    `spare`: see `cache.allocate`."""
    cache = allocate(
        spec, sequences=batch, tokens=context, slack=slack, dtype=dtype, device="meta", int8=int8, spare=spare
    )
    return cache.bytes()


def all_full(spec: Model) -> Model:
    """The same model with every attention layer global: what the cache would be without windows."""

    def widened(layer: Layer) -> Layer:
        mixer = layer.mixer
        return replace(layer, mixer=replace(mixer, window=None)) if isinstance(mixer, Attention) else layer

    return replace(spec, layers=tuple(widened(layer) for layer in spec.layers))


@dataclass(frozen=True, kw_only=True)
class Working:
    """Bytes of tensors that one step needs and gives back. `activations`: the most that are alive at once inside the
    blocks; `logits`: inside the head and the drawing of tokens, when the blocks' are gone."""

    activations: int
    logits: int


def working(
    spec: Model,
    *,
    context: int,
    batch: int,
    chunk: int,
    dtype: torch.dtype,
    forms: Forms = (),
    int8: bool = False,
    ahead: int = 0,
) -> Working:
    """The largest step: the last `chunk` tokens of a prompt that fills the context, and one token of every other
    sequence of the batch. `ahead`: rows of logits for guesses, beside one for each sequence."""
    tokens = min(context, chunk + batch - 1)
    outside, kinds = _kinds(spec, dict(forms))
    few, few_forms = _model_of(spec, outside, list(kinds))  # equal layers need equal memory: one of each
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.device("meta"):
        model = Decoder(few)
    with mode, LiveBytes() as weights:
        _fill(model, dtype, few_forms)
    with mode:
        cache = allocate(few, sequences=1, tokens=context, dtype=dtype, int8=int8)
        ids = torch.zeros(tokens, dtype=torch.int64)
        picked = torch.zeros(min(batch, tokens) + ahead, dtype=torch.int64)
    handle = cache.open()
    if context > tokens:
        cache.prepare([handle], [context - tokens]).commit()
    step = cache.prepare([handle], [tokens])
    memory = [tensor for store in cache.stores for tensor in store.tensors.values()]
    held = [*memory, ids]
    with mode, LiveBytes(held, weights) as body:
        hidden = model(ids, step.span, memory=step)
    with mode, torch.no_grad(), LiveBytes(held, weights) as head:
        model.head.logits(hidden[picked])
    draw = SAMPLING_ROWS * spec.vocab * torch.float32.itemsize
    return Working(activations=body.peak, logits=head.peak + draw + hidden.untyped_storage().nbytes())


@lru_cache(maxsize=8)
def guesses_unasked(spec: Model, dtype: torch.dtype, forms: Forms) -> bool:
    """Is it run so that no text can change by guesses? (See `guesses.bit_equal`.)"""
    outside, kinds = _kinds(spec, dict(forms))
    few, few_forms = _model_of(spec, outside, list(kinds))
    with torch.device("meta"):
        model = Decoder(few)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _fill(model, dtype, few_forms)
    return bit_equal(model)


def adapter_bytes(spec: Model, folders: Mapping[str, str | Path]) -> tuple[int, int]:
    """Bytes of these adapters beside the weights, and of the largest, which is there twice while it is read. Raises
    `UserError` as `loading.hold_adapter` does."""
    held, largest = Adapters(spec, "meta"), 0
    for name, folder in folders.items():
        before = held.nbytes
        hold_adapter(held, name, folder, spec)
        largest = max(largest, held.nbytes - before)
    return held.nbytes, largest


def _kinds(spec: Model, forms: dict[str, Form]) -> tuple[dict[str, Form], Counter[_Kind]]:
    """The forms outside the layers, and the layers with theirs: those that are equal are counted together."""
    inside: list[list[tuple[str, Form]]] = [[] for _ in spec.layers]
    outside: dict[str, Form] = {}
    for name, form in forms.items():
        if name.startswith("layers."):
            _, index, rest = name.split(".", 2)
            inside[int(index)].append((rest, form))
        else:
            outside[name] = form
    return outside, Counter((layer, tuple(packed)) for layer, packed in zip(spec.layers, inside, strict=True))


def _model_of(spec: Model, outside: dict[str, Form], kinds: list[_Kind]) -> tuple[Model, dict[str, Form]]:
    """The model with a layer of each of these kinds, and its forms."""
    forms = dict(outside)
    for index, (_, packed) in enumerate(kinds):
        forms |= {f"layers.{index}.{rest}": form for rest, form in packed}
    return replace(spec, layers=tuple(layer for layer, _ in kinds)), forms


def _fill(model: Decoder, dtype: torch.dtype, forms: dict[str, Form], norms: torch.dtype | None = None) -> None:
    """Give a model built on meta its weights as they are loaded, on the mode's pretended CPU."""
    matrices = swap.empty_matrices(model, SCHEMES["bf16"], "cpu", forms) if forms else {}
    for path, module in model.named_modules():
        for name, old in list(module.named_parameters(recurse=False)):
            if f"{path}.{name}" not in matrices:
                held = norms if norms and isinstance(module, RMSNorm) else dtype
                new = torch.empty(old.shape, dtype=held, device="cpu")
                setattr(module, name, nn.Parameter(new, requires_grad=False))
    swap.install(model, matrices)
