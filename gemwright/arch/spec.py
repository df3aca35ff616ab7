"""The words in which a model is written down.

A layer is data: each names its own mixer, window, RoPE base and factor, norms and caps. Nothing has a default, so no
value that a family must state can be inherited by accident. Modules, caches, planner and file tables read these
dataclasses and never a family's name.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

LayerKind = Literal["global", "local", "recurrent"]


@dataclass(frozen=True, kw_only=True)
class Rope:
    """Rotary positions: angle of pair i at position p is `p / factor * base ** (-2 i / channels)`.

    `channels` counts the rotated leading channels of a head (all of them, or half in RecurrentGemma); the pair of
    channel i is i + channels / 2.
    """

    base: float
    factor: float
    channels: int


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Grouped-query attention. Query head h reads key head `h // (heads // kv_heads)`.

    `window` is the number of keys that a token sees, itself included (None: all earlier ones). Scores are
    `q · k * query_scalar ** -0.5`, then `cap * tanh(score / cap)` where there is a cap, then masked.
    """

    heads: int
    kv_heads: int
    head_dim: int
    window: int | None
    rope: Rope
    query_scalar: float
    cap: float | None
    qk_norm: bool
    out_bias: bool

    @property
    def scale(self) -> float:
        """The factor on the scores."""
        return self.query_scalar**-0.5

    @property
    def group(self) -> int:
        """Query heads per key head."""
        return self.heads // self.kv_heads


@dataclass(frozen=True, kw_only=True)
class Recurrent:
    """Griffin's recurrent block: two branches of `width`, a causal depthwise convolution of `conv` taps, RG-LRU gates
    block-diagonal in `blocks` blocks."""

    width: int
    blocks: int
    conv: int


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """GeGLU: `down(gelu_tanh(gate(x)) * up(x))`; `hidden` is the width of one branch."""

    hidden: int
    bias: bool


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One residual block: a mixer, then an MLP, each behind an RMSNorm; with `post_norms` also one after each,
    on the sublayer's output before it joins the residual stream."""

    mixer: Attention | Recurrent
    mlp: Mlp
    post_norms: bool

    @property
    def kind(self) -> LayerKind:
        """How the layer remembers the past."""
        if isinstance(self.mixer, Recurrent):
            return "recurrent"
        return "global" if self.mixer.window is None else "local"


@dataclass(frozen=True, kw_only=True)
class Tower:
    """SigLIP's vision transformer: square pictures of `image` pixels cut in squares of `patch`."""

    image: int
    patch: int
    width: int
    hidden: int
    heads: int
    depth: int
    norm_epsilon: float

    @property
    def grid(self) -> int:
        """Patches along one side of a picture."""
        return self.image // self.patch


@dataclass(frozen=True, kw_only=True)
class Vision:
    """How a model sees: its tower, and the number of soft tokens that one picture becomes."""

    tower: Tower
    tokens: int

    @property
    def side(self) -> int:
        """Soft tokens along one side of a picture."""
        return math.isqrt(self.tokens)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A whole model.

    `vocab` counts the rows of the tied table. Embeddings are multiplied by `embed_scale` rounded to bfloat16
    (`embed_rounding="bfloat16"`) or to the dtype of the activations (`"activation"`). `context` is the longest
    sequence that the model was made for, in tokens (None: no limit, the state has a fixed size). `final_cap` bounds
    the logits by `cap * tanh(logits / cap)`.
    """

    name: str
    family: str
    width: int
    vocab: int
    context: int | None
    layers: tuple[Layer, ...]
    norm_epsilon: float
    embed_scale: float
    embed_rounding: Literal["activation", "bfloat16"]
    final_cap: float | None
    vision: Vision | None

    @property
    def kinds(self) -> tuple[LayerKind, ...]:
        """The kind of each layer, first to last."""
        return tuple(layer.kind for layer in self.layers)

    def fingerprint(self) -> str:
        """A digest of everything that decides the model's arithmetic; the name does not take part."""
        facts = asdict(self) | {"name": ""}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def check(model: Model) -> None:
    """Raise `ValueError` naming the first field whose value no model can have."""

    def positive(where: str, **values: float) -> None:
        for name, value in values.items():
            if not value > 0:
                raise ValueError(f"{where}: {name} is {value}, it must be positive")

    positive("model", width=model.width, vocab=model.vocab, depth=len(model.layers), norm_epsilon=model.norm_epsilon)
    positive("model", embed_scale=model.embed_scale)
    for name, value in (("context", model.context), ("final_cap", model.final_cap)):
        if value is not None:
            positive("model", **{name: value})
    if model.vision is not None:
        _check_vision(model.vision, positive)
    for index, layer in enumerate(model.layers):
        where, mixer = f"layer {index}", layer.mixer
        positive(where, hidden=layer.mlp.hidden)
        if isinstance(mixer, Recurrent):
            positive(where, width=mixer.width, blocks=mixer.blocks, conv=mixer.conv)
            if mixer.width % mixer.blocks:
                raise ValueError(f"{where}: recurrent width {mixer.width} is no multiple of its {mixer.blocks} blocks")
            continue
        positive(where, heads=mixer.heads, kv_heads=mixer.kv_heads, head_dim=mixer.head_dim)
        positive(where, query_scalar=mixer.query_scalar, rope_base=mixer.rope.base, rope_factor=mixer.rope.factor)
        for name, value in (("window", mixer.window), ("cap", mixer.cap)):
            if value is not None:
                positive(where, **{name: value})
        if mixer.heads % mixer.kv_heads:
            raise ValueError(f"{where}: {mixer.heads} heads cannot share {mixer.kv_heads} key heads evenly")
        if mixer.rope.channels % 2 or not 0 < mixer.rope.channels <= mixer.head_dim:
            raise ValueError(f"{where}: RoPE cannot turn {mixer.rope.channels} of {mixer.head_dim} channels")


def _check_vision(vision: Vision, positive: Callable[..., None]) -> None:
    tower = vision.tower
    positive("vision", image=tower.image, patch=tower.patch, grid=tower.grid, width=tower.width, heads=tower.heads)
    positive("vision", hidden=tower.hidden, depth=tower.depth, norm_epsilon=tower.norm_epsilon, tokens=vision.tokens)
    if tower.width % tower.heads:
        raise ValueError(f"vision: width {tower.width} is no multiple of its {tower.heads} heads")
    if vision.side**2 != vision.tokens or tower.grid % vision.side:
        raise ValueError(f"vision: {tower.grid} × {tower.grid} patches cannot be pooled to {vision.tokens} tokens")
