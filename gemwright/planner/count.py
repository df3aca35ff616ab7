"""Bytes of a model by what they are for, counted on the real modules and stores, none of which is ever filled.

Parameters are those of the decoder built on the meta device, the cache is the allocator's own. Activations come from
running one step of the real decoder under `FakeTensorMode`: meta tensors that answer to "cpu", so that the step takes
the routes that a CPU takes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gemwright.arch.spec import Attention, Layer, Model, Vision
from gemwright.cache.allocate import allocate
from gemwright.nn.decoder import Decoder
from gemwright.planner.live import LiveBytes

PARTS = ("table", "attention", "recurrent", "mlp", "norms")

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


def _part(name: str, spec: Model) -> str:
    if name.startswith("embed."):
        return "table"
    if "norm" in name:
        return "norms"
    _, index, block, _ = name.split(".", 3)
    if block == "mlp":
        return "mlp"
    return "attention" if isinstance(spec.layers[int(index)].mixer, Attention) else "recurrent"


def vision_parameters(vision: Vision, width: int) -> int:
    """Parameters of a picture tower (SigLIP: patches, learned positions, blocks with biases, a last norm) and of the
    norm and the product that lead to `width`. They are not loaded; the number says what is left in the file."""
    tower = vision.tower
    patches = (tower.image // tower.patch) ** 2
    inputs = 3 * tower.patch**2 * tower.width + tower.width + patches * tower.width
    attention = 4 * (tower.width + 1) * tower.width
    mlp = 2 * tower.width * tower.hidden + tower.hidden + tower.width
    norm = 2 * tower.width
    projector = tower.width + tower.width * width
    return inputs + tower.depth * (attention + mlp + 2 * norm) + norm + projector


def cache_bytes(spec: Model, *, context: int, batch: int, dtype: torch.dtype, slack: int = 8) -> dict[str, int]:
    """Bytes of the cache of `batch` sequences of `context` tokens: "global", "local" and "recurrent" layers."""
    return allocate(spec, sequences=batch, tokens=context, slack=slack, dtype=dtype, device="meta").bytes()


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


def working(spec: Model, *, context: int, batch: int, chunk: int, dtype: torch.dtype) -> Working:
    """The largest step: the last `chunk` tokens of a prompt that fills the context, and one token of every other
    sequence of the batch."""
    tokens = min(context, chunk + batch - 1)
    few = replace(spec, layers=tuple(dict.fromkeys(spec.layers)))  # equal layers need equal memory: one of each
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.device("meta"):
        model = Decoder(few)
    with mode:
        _assign(model, dtype)
        cache = allocate(few, sequences=1, tokens=context, dtype=dtype)
        ids = torch.zeros(tokens, dtype=torch.int64)
        picked = torch.zeros(min(batch, tokens), dtype=torch.int64)
    handle = cache.open()
    if context > tokens:
        cache.prepare([handle], [context - tokens]).commit()
    step = cache.prepare([handle], [tokens])
    memory = [value for store in cache.stores for value in vars(store).values() if isinstance(value, Tensor)]
    held = [*model.parameters(), *memory, ids]
    with mode, LiveBytes(held) as body:
        hidden = model(ids, step.span, memory=step)
    with mode, torch.no_grad(), LiveBytes(held) as head:
        model.head.logits(hidden[picked])
    draw = SAMPLING_ROWS * spec.vocab * torch.float32.itemsize
    return Working(activations=body.peak, logits=head.peak + draw + hidden.untyped_storage().nbytes())


def _assign(model: nn.Module, dtype: torch.dtype) -> None:
    """Give a model built on meta parameters of this dtype on the mode's pretended CPU."""
    for module in model.modules():
        for name, old in list(module.named_parameters(recurse=False)):
            new = torch.empty(old.shape, dtype=dtype, device="cpu")
            setattr(module, name, nn.Parameter(new, requires_grad=False))
