"""The mistakes that implementations of this family make, each as a change to our model.

A mutation changes the spec, the tensors, or replaces one function of `gemwright.ops` while the model runs. Parity
tests are only worth what they would catch: `test_mutations.py` applies every row to every case that it concerns.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from gemwright.arch.spec import Attention, Layer, Model, Rope
from gemwright.cache.allocate import Step
from gemwright.nn.attention import AttentionMixer
from gemwright.nn.decoder import Decoder
from gemwright.ops import attend, pointwise, scan
from gemwright.ops.rope import Angles, rotate
from gemwright.ops.span import Span

Tensors = dict[str, Tensor]

GEMMA3 = ("gemma3", "gemma3-factor8", "gemma3-27b")
STRETCHED = ("gemma3-factor8", "gemma3-27b")
SANDWICH = ("gemma2", *GEMMA3)
GEMMA = ("gemma1", *SANDWICH)
GRIFFIN = ("recurrentgemma",)
EVERY = (*GEMMA, *GRIFFIN)


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One mistake, and the cases in which it can be made. What a row does not name stays as it is."""

    name: str
    cases: tuple[str, ...]
    spec: Callable[[Model], Model] = lambda model: model
    tensors: Callable[[Model, Tensors], None] = lambda model, tensors: None
    patch: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext


@contextlib.contextmanager
def swapped(original: Callable[..., Any], other: Callable[..., Any]) -> Iterator[None]:
    """Wherever the package holds the function `original`, it holds `other` for a while."""
    places = [
        (module, name)
        for path, module in list(sys.modules.items())
        if path.startswith("gemwright.")
        for name, value in list(vars(module).items())
        if value is original
    ]
    for module, name in places:
        setattr(module, name, other)
    try:
        yield
    finally:
        for module, name in places:
            setattr(module, name, original)


def mutated(spec: Model, tensors: Tensors) -> Decoder:
    """A decoder of that spec with those tensors; tensors that it has no use for are left."""
    with torch.device("meta"):
        model = Decoder(spec)
    model.load_state_dict({name: tensors[name] for name in model.state_dict()}, assign=True)
    return model.eval().requires_grad_(False)


# ---------------------------------------------------------------------------------------------------------------------
# Ways to change a spec


def each_attention(change: Callable[[Attention], Attention]) -> Callable[[Model], Model]:
    """`change` on every attention of the model."""

    def one(layer: Layer) -> Layer:
        return replace(layer, mixer=change(layer.mixer)) if isinstance(layer.mixer, Attention) else layer

    return lambda model: replace(model, layers=tuple(one(layer) for layer in model.layers))


def each_rope(change: Callable[[Attention], dict[str, Any]]) -> Callable[[Model], Model]:
    """The RoPE fields that `change` returns, on every attention of the model."""
    return each_attention(lambda mixer: replace(mixer, rope=replace(mixer.rope, **change(mixer))))


def a_window(model: Model) -> int:
    """The window of the local layers."""
    return next(m.window for m in _attentions(model) if m.window is not None)


def _attentions(model: Model) -> list[Attention]:
    return [layer.mixer for layer in model.layers if isinstance(layer.mixer, Attention)]


def all_local(model: Model) -> Model:
    window = a_window(model)
    return each_attention(lambda mixer: replace(mixer, window=window))(model)


def bases_swapped(model: Model) -> Model:
    ropes = {mixer.window is None: mixer.rope.base for mixer in _attentions(model)}
    return each_rope(lambda mixer: {"base": ropes[mixer.window is not None]})(model)


def caps_swapped(model: Model) -> Model:
    inner = _attentions(model)[0].cap
    swap = each_attention(lambda mixer: replace(mixer, cap=model.final_cap))(model)
    return replace(swap, final_cap=inner)


def pattern_shifted(by: int) -> Callable[[Model], Model]:
    return lambda model: replace(model, layers=model.layers[by:] + model.layers[:by])


def wider(window: int) -> Callable[[Model], Model]:
    return each_attention(lambda m: m if m.window is None else replace(m, window=m.window + window))


def other_rounding(model: Model) -> Model:
    return replace(model, embed_rounding="activation" if model.embed_rounding == "bfloat16" else "bfloat16")


# ---------------------------------------------------------------------------------------------------------------------
# Ways to change tensors, in place


def change(by: Callable[[Tensor], Tensor], *suffixes: str) -> Callable[[Model, Tensors], None]:
    """Replace every tensor whose name ends in one of these; there must be one."""

    def apply(model: Model, tensors: Tensors) -> None:
        names = [name for name in tensors if name.endswith(suffixes)]
        assert names, f"no tensor ends in {suffixes}"
        tensors.update({name: by(tensors[name]) for name in names})

    return apply


def exchange(*pairs: tuple[str, str]) -> Callable[[Model, Tensors], None]:
    """Exchange the tensors whose names end in a pair's first with their neighbours that end in its second."""

    def apply(model: Model, tensors: Tensors) -> None:
        for first, second in pairs:
            names = [name for name in tensors if name.endswith(first)]
            assert names, f"no tensor ends in {first}"
            for name in names:
                other = name.removesuffix(first) + second
                tensors[name], tensors[other] = tensors[other], tensors[name]

    return apply


def heads_by_modulo(model: Model, tensors: Tensors) -> None:
    """Query head h reads key head h % G: the heads are dealt out so that h // (H / G) becomes just that."""
    for index, layer in enumerate(model.layers):
        mixer = layer.mixer
        assert isinstance(mixer, Attention)
        dealt = torch.arange(mixer.heads).view(mixer.group, mixer.kv_heads).T.flatten()
        query, out = f"layers.{index}.mixer.query.weight", f"layers.{index}.mixer.out.weight"
        shape = (mixer.heads, mixer.head_dim)
        tensors[query] = tensors[query].unflatten(0, shape)[dealt].flatten(0, 1)
        tensors[out] = tensors[out].unflatten(1, shape)[:, dealt].flatten(1, 2)


# ---------------------------------------------------------------------------------------------------------------------
# Other functions in the place of ours


def cap_after_mask(
    query: Tensor, key: Tensor, value: Tensor, span: Span, *, window: int | None, scale: float, cap: float | None
) -> Tensor:
    """`attend_documents` that caps masked scores: −∞ becomes −cap, and hidden keys are seen again."""
    group = query.shape[1] // key.shape[1]
    keys, values = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
    scores = torch.einsum("chk,shk->hcs", query, keys) * scale
    scores = scores.masked_fill(~attend.visible_within(span, window), -math.inf)
    weights = torch.softmax(pointwise.soft_cap(scores, cap), dim=-1)
    return torch.einsum("hcs,shk->chk", weights, values)


def erf_gelu(x: Tensor, approximate: str = "none") -> Tensor:
    return _gelu(x)


_gelu = F.gelu


def forgetting_the_reset(
    u: Tensor, recurrence: Tensor, input_gate: Tensor, a_param: Tensor, reset: Tensor
) -> tuple[Tensor, ...]:
    return _gated_input(u, recurrence, input_gate, a_param, torch.zeros_like(reset))


_gated_input = scan.gated_input


def norms_after_rope(
    self: AttentionMixer, x: Tensor, span: Span, angles: dict[Rope, Angles], memory: Step | None, layer: int, *_: None
) -> Tensor:
    """`AttentionMixer.forward` without memory and adapters, in the wrong order."""
    spec = self.spec
    query, key, value = (
        project(x).unflatten(-1, (-1, spec.head_dim)) for project in (self.query, self.key, self.value)
    )
    query = self.query_norm(rotate(query, angles[spec.rope]))
    key = self.key_norm(rotate(key, angles[spec.rope]))
    mixed = attend.attend_documents(query, key, value, span, window=spec.window, scale=spec.scale, cap=spec.cap)
    return self.out(mixed.flatten(1))


# ---------------------------------------------------------------------------------------------------------------------
# The table

MUTATIONS = (
    # Caps
    Mutation(name="no attention cap", cases=("gemma2",), spec=each_attention(lambda m: replace(m, cap=None))),
    Mutation(name="no final cap", cases=("gemma2", *GRIFFIN), spec=lambda model: replace(model, final_cap=None)),
    Mutation(name="caps swapped", cases=("gemma2",), spec=caps_swapped),
    Mutation(
        name="cap after the mask",
        cases=("gemma2",),
        patch=lambda: swapped(attend.attend_documents, cap_after_mask),
    ),
    Mutation(name="a cap on scores", cases=GEMMA3, spec=each_attention(lambda m: replace(m, cap=50.0))),
    Mutation(name="a cap on logits", cases=GEMMA3, spec=lambda model: replace(model, final_cap=30.0)),
    # Who sees whom
    Mutation(name="window + 1", cases=(*SANDWICH, *GRIFFIN), spec=wider(1)),
    Mutation(name="window - 1", cases=(*SANDWICH, *GRIFFIN), spec=wider(-1)),
    Mutation(
        name="local layers see all",
        cases=(*SANDWICH, *GRIFFIN),
        spec=each_attention(lambda m: replace(m, window=None)),
    ),
    Mutation(name="global layers see a window", cases=SANDWICH, spec=all_local),
    Mutation(name="layer kinds one too early", cases=SANDWICH, spec=pattern_shifted(1)),
    Mutation(name="layer kinds one too late", cases=SANDWICH, spec=pattern_shifted(-1)),
    Mutation(name="heads grouped by modulo", cases=SANDWICH, tensors=heads_by_modulo),
    # Positions and scale
    Mutation(name="RoPE bases swapped", cases=GEMMA3, spec=bases_swapped),
    Mutation(
        name="one RoPE base for all layers",
        cases=GEMMA3,
        spec=each_rope(lambda m: {"base": 10_000.0}),
    ),
    Mutation(name="÷ 8 on all layers", cases=STRETCHED, spec=each_rope(lambda m: {"factor": 8.0})),
    Mutation(
        name="÷ 8 on local layers only",
        cases=STRETCHED,
        spec=each_rope(lambda m: {"factor": 1.0 if m.window is None else 8.0}),
    ),
    Mutation(name="÷ 8 nowhere", cases=STRETCHED, spec=each_rope(lambda m: {"factor": 1.0})),
    Mutation(
        name="÷ 8 on a model without",
        cases=("gemma3",),
        spec=each_rope(lambda m: {"factor": 8.0 if m.window is None else 1.0}),
    ),
    Mutation(
        name="partial rotary ignored",
        cases=GRIFFIN,
        spec=each_rope(lambda m: {"channels": m.head_dim}),
    ),
    Mutation(
        name="scale = head_dim",
        cases=("gemma2", "gemma3-27b"),
        spec=each_attention(lambda m: replace(m, query_scalar=float(m.head_dim))),
    ),
    # Norms
    Mutation(name="q and k norms swapped", cases=GEMMA3, tensors=exchange(("query_norm.weight", "key_norm.weight"))),
    Mutation(
        name="q and k norms after RoPE",
        cases=GEMMA3,
        patch=lambda: mock.patch.object(AttentionMixer, "forward", norms_after_rope),
    ),
    Mutation(name="no q and k norms", cases=GEMMA3, spec=each_attention(lambda m: replace(m, qk_norm=False))),
    Mutation(
        name="mixer's norms swapped",
        cases=SANDWICH,
        tensors=exchange(("mixer_norm.weight", "mixer_post_norm.weight")),
    ),
    Mutation(name="MLP's norms swapped", cases=SANDWICH, tensors=exchange(("mlp_norm.weight", "mlp_post_norm.weight"))),
    Mutation(
        name="mixer's post norm taken for the MLP's norm",
        cases=SANDWICH,
        tensors=exchange(("mixer_post_norm.weight", "mlp_norm.weight")),
    ),
    *(
        Mutation(name=f"+ 1 missing in {norm}", cases=cases, tensors=change(lambda w: w - 1, f"{norm}.weight"))
        for norm, cases in {
            "mixer_norm": EVERY,
            "mixer_post_norm": SANDWICH,
            "mlp_norm": EVERY,
            "mlp_post_norm": SANDWICH,
            "query_norm": GEMMA3,
            "key_norm": GEMMA3,
            "final_norm": EVERY,
        }.items()
    ),
    Mutation(name="+ 1 missing everywhere", cases=EVERY, tensors=change(lambda w: w - 1, "norm.weight")),
    # Embedding and MLP
    Mutation(name="embedding not scaled", cases=EVERY, spec=lambda model: replace(model, embed_scale=1.0)),
    Mutation(name="embedding scale rounded otherwise", cases=EVERY, spec=other_rounding),
    Mutation(name="gelu by erf", cases=EVERY, patch=lambda: mock.patch.object(F, "gelu", erf_gelu)),
    Mutation(name="gate and up swapped", cases=EVERY, tensors=exchange(("mlp.gate.weight", "mlp.up.weight"))),
    # The recurrent block
    Mutation(name="convolution flipped", cases=GRIFFIN, tensors=change(lambda w: w.flip(-1), "conv.weight")),
    Mutation(
        name="gates swapped",
        cases=GRIFFIN,
        tensors=exchange(("input_gate.weight", "a_gate.weight"), ("input_gate.bias", "a_gate.bias")),
    ),
    Mutation(
        name="gates' blocks transposed",
        cases=GRIFFIN,
        tensors=change(lambda w: w.mT, "a_gate.weight", "input_gate.weight"),
    ),
    Mutation(name="branches swapped", cases=GRIFFIN, tensors=exchange(("linear_x.weight", "linear_y.weight"))),
    Mutation(name="sign of the decay's parameter", cases=GRIFFIN, tensors=change(torch.neg, "a_param")),
    Mutation(name="reset missing", cases=GRIFFIN, patch=lambda: swapped(scan.gated_input, forgetting_the_reset)),
    Mutation(
        name="square root's multiplier dropped",
        cases=GRIFFIN,
        patch=lambda: swapped(scan.bounded_sqrt, torch.ones_like),
    ),
    *(
        Mutation(name=f"{bias} dropped", cases=GRIFFIN, tensors=change(torch.zeros_like, bias))
        for bias in (
            "mixer.out.bias",
            "linear_x.bias",
            "linear_y.bias",
            "linear_out.bias",
            "conv.bias",
            "input_gate.bias",
            "a_gate.bias",
            "mlp.gate.bias",
            "mlp.up.bias",
            "mlp.down.bias",
        )
    ),
)
