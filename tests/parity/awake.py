"""Tiny transformers models of every family, awake: the oracle of the parity tests.

A fresh model is asleep. Its norms and biases are zero and its scores tiny, so it cannot tell whether a cap, a norm's
"+1", a bias or a window's edge is right. `wake` draws every parameter anew, from one seed: norms and biases with a
standard deviation of at least 0.3, scores that reach ±60 where they are capped, logits that reach ±40. What `wake`
promises, `test_awake.py` measures.

The sizes are chosen to tell mistakes apart: no two widths that a mistake could mix up are equal, the square root of
the width is no bfloat16 number, the window is odd and fits five times into the text.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    PreTrainedModel,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
    SiglipVisionConfig,
)

LOUD, HUSHED = 7.0, 0.3
ECHO = 3.0
WINDOW = 13
TEXT = 5 * WINDOW + 3  # tokens: more than four windows, and no multiple of one
VOCAB = 320
WIDTH = 72  # √72 = 8.485 is 8.5 in bfloat16

_SHARED = {
    "hidden_size": WIDTH,
    "intermediate_size": 112,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 4096,
}
_SANDWICH = _SHARED | {"sliding_window": WINDOW}


def _gemma1(vocab: int) -> PreTrainedModel:
    return GemmaForCausalLM(
        GemmaConfig(**_SHARED | {"num_hidden_layers": 6, "num_key_value_heads": 1}, vocab_size=vocab)
    )


def _gemma2(vocab: int) -> PreTrainedModel:
    # The scalar of the 27B is not its head_dim; here too.
    return Gemma2ForCausalLM(Gemma2Config(**_SANDWICH, vocab_size=vocab, num_hidden_layers=6, query_pre_attn_scalar=24))


def _gemma3_text(vocab: int, factor: float, scalar: int) -> Gemma3TextConfig:
    full = {"rope_type": "default", "rope_theta": 1_000_000.0}
    if factor != 1.0:
        full |= {"rope_type": "linear", "factor": factor}
    rope = {"full_attention": full, "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0}}
    sizes = _SANDWICH | {"vocab_size": vocab, "num_hidden_layers": 12}
    return Gemma3TextConfig(**sizes, query_pre_attn_scalar=scalar, rope_parameters=rope)


def _gemma3_small(vocab: int) -> PreTrainedModel:
    return Gemma3ForCausalLM(_gemma3_text(vocab, 1.0, 16))


def _gemma3_factor8(vocab: int) -> PreTrainedModel:
    return Gemma3ForCausalLM(_gemma3_text(vocab, 8.0, 16))


def _gemma3_27b(vocab: int) -> PreTrainedModel:
    return Gemma3ForCausalLM(_gemma3_text(vocab, 8.0, 24))


def _gemma3_multimodal(vocab: int, side: int = 56, tokens: int = 4) -> PreTrainedModel:
    vision = SiglipVisionConfig(
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=side,
        patch_size=14,
    )
    image = {"boi_token_index": vocab - 3, "eoi_token_index": vocab - 2, "image_token_index": vocab - 1}
    config = Gemma3Config(
        text_config=_gemma3_text(vocab, 8.0, 16), vision_config=vision, mm_tokens_per_image=tokens, **image
    )
    return Gemma3ForConditionalGeneration(config)


def _recurrentgemma(vocab: int) -> PreTrainedModel:
    # transformers derives the head's width as 72 / 3 = 24 and halves the MLP's.
    config = RecurrentGemmaConfig(
        vocab_size=vocab,
        hidden_size=WIDTH,
        intermediate_size=2 * 112,
        num_hidden_layers=6,
        num_attention_heads=3,
        num_key_value_heads=1,
        lru_width=96,
        attention_window_size=WINDOW,
    )
    return RecurrentGemmaForCausalLM(config)


_BUILDERS: dict[str, Callable[[int], PreTrainedModel]] = {
    "gemma1": _gemma1,
    "gemma2": _gemma2,
    "gemma3": _gemma3_small,
    "gemma3-factor8": _gemma3_factor8,
    "gemma3-27b": _gemma3_27b,
    "gemma3-multimodal": _gemma3_multimodal,
    "recurrentgemma": _recurrentgemma,
}
CASES = tuple(_BUILDERS)


def build(case: str, seed: int = 0, vocab: int = VOCAB, echo: float = ECHO) -> PreTrainedModel:
    """The awake float32 model of that case, with eager attention, in evaluation mode."""
    model = _BUILDERS[case](vocab)
    model.set_attn_implementation("eager")
    wake(model, seed, echo)
    return model.eval().requires_grad_(False)


def save_seeing(folder: Path, *, side: int, tokens: int, vocab: int = VOCAB) -> PreTrainedModel:
    """An awake model that sees pictures of `side` pixels as so many soft tokens each, written to `folder`."""
    model = _gemma3_multimodal(vocab, side, tokens)
    model.set_attn_implementation("eager")
    wake(model, seed=0)
    model.eval().requires_grad_(False).save_pretrained(folder)
    return model


def save(case: str, folder: Path, seed: int = 0, vocab: int = VOCAB, echo: float = ECHO) -> PreTrainedModel:
    """Build that case, write it to `folder` as transformers does, and return it."""
    model = build(case, seed, vocab, echo)
    model.save_pretrained(folder)
    return model


def text(seed: int, tokens: int = TEXT) -> Tensor:
    """int64 `[tokens]`: random ids that are neither padding, end, begin nor the image pieces."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB - 3, (tokens,), generator=generator)


def oracle(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Logits `[N, V]` of one sequence `ids [N]` in one pass of transformers, without its cache."""
    with torch.no_grad():
        return model(input_ids=ids[None], use_cache=False).logits[0]


@torch.no_grad()
def wake(model: PreTrainedModel, seed: int, echo: float = ECHO) -> None:
    """Draw every parameter anew, in the order of its name, all from one seed.

    `echo`: the embedding's share of the residual stream. A low one makes rounding noise larger; a high one makes each
    token foretell itself.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = dict(sorted(model.named_parameters()))
    sandwich = any(name.endswith("post_feedforward_layernorm.weight") for name in parameters)
    for name, parameter in parameters.items():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(_drawn(*(".", *name.split("."))[-2:], noise, sandwich, echo))
    config = model.config.get_text_config()
    if getattr(config, "attn_logit_softcapping", None) is not None:
        _shout(parameters, config.head_dim)


def _shout(parameters: dict[str, Tensor], head_dim: int) -> None:
    """Under a cap, make the first head of each layer shout: its scores reach ±60.

    Its queries look away from its keys, so a token's score with itself is about -60: a document's first token has no
    better choice, and would see masked keys if the cap came after the mask. One such head is enough. Its softmax is
    almost a choice of one key, where rounding noise grows most, so its share of the output is small.
    """
    for name, parameter in parameters.items():
        if name.endswith("q_proj.weight"):
            key = parameters[name.replace("q_proj", "k_proj")][:head_dim]
            parameter[:head_dim].add_(key, alpha=-LOUD)
        elif name.endswith("o_proj.weight"):
            parameter[:, :head_dim].mul_(HUSHED)


# Means of the norm weights, which are stored less 1. The residual stream is dominated neither by the embedding nor by
# attention, so that a mistake in any sublayer reaches the logits, and rounding noise is not amplified on its way.
_NORM_MEANS = {"q_norm": 0.3, "k_norm": 0.3}
_SANDWICH_MEANS = {"post_attention_layernorm": -0.3, "post_feedforward_layernorm": 2.0}
_GAINS = {
    "q_proj": 1.2,
    "k_proj": 1.5,
    "v_proj": 1.3,
    "o_proj": 1.5,
    "gate_proj": 1.6,
    "down_proj": 3.0,
    "linear_y": 1.6,
    "linear_out": 1.5,
}


def _drawn(module: str, kind: str, noise: Tensor, sandwich: bool, echo: float) -> Tensor:
    """The values of the parameter `kind` of a module of that name, from standard normal `noise` of its shape."""
    if kind == "recurrent_param":  # per channel, a memory of one token up to a thousand
        return -3.5 + 1.5 * noise.clamp(-2, 2)
    if "norm" in module and kind == "weight":
        last = 10.5 / echo - 1  # whatever the echo, logits reach 40
        means = _NORM_MEANS | {"norm": last, "final_norm": last} | (_SANDWICH_MEANS if sandwich else {})
        return means.get(module, 0.0) + 0.4 * noise
    if kind.endswith("bias") or module == "conv_1d":
        return 0.5 * noise
    return (_GAINS | {"embed_tokens": echo}).get(module, 1.0) * noise * noise.shape[1] ** -0.5
