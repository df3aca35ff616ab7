"""Small awake models of ours, one for each kind of memory. Nothing in them is zero, equal or in harmony by chance."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from gemwright.arch.presets import preset
from gemwright.arch.spec import Model
from gemwright.nn.decoder import Decoder
from gemwright.ops.native import calls
from gemwright.ops.span import span

VOCAB = 60
WINDOW = 6


def specs(*, recurrent_width: int, vocab: int = VOCAB, **sizes: int) -> dict[str, Model]:
    """One model of those sizes for each kind of memory."""
    sizes["vocab"] = vocab
    windowed: dict[str, Any] = {"window": WINDOW, **sizes}
    return {
        "global": preset("gemma-2b", depth=2, **sizes),
        "capped": preset("gemma-2-2b", depth=4, kv_heads=2, query_scalar=12.0, **windowed),
        "local": preset("gemma-3-1b", depth=7, kv_heads=2, query_scalar=12.0, **windowed),
        "recurrent": preset("recurrentgemma-2b", depth=4, recurrent_width=recurrent_width, gate_blocks=4, **windowed),
    }


SPECS = specs(width=24, heads=4, head_dim=8, hidden=40, recurrent_width=32)
NAMES = tuple(SPECS)
# The same, wide enough for blocks of 32 weights: what the native kernels run.
NATIVE = specs(width=64, heads=4, head_dim=16, hidden=96, recurrent_width=128)
needs_kernels = pytest.mark.skipif(not calls.available(), reason="no native kernels were built here")


@cache
def model(name: str, dtype: torch.dtype = torch.float32) -> Decoder:
    """The awake model of that name; the same weights in every dtype."""
    return awake(SPECS[name], dtype)


def awake(spec: Model, dtype: torch.dtype = torch.float32) -> Decoder:
    """A model with every parameter drawn from one seed."""
    generator = torch.Generator().manual_seed(7)
    decoder = Decoder(spec)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("a_param"):
                parameter.copy_(noise - 3)
            elif parameter.dim() == 1 or name.endswith("bias"):
                parameter.copy_(0.4 * noise)
            else:
                parameter.copy_(1.5 * noise / parameter.shape[1] ** 0.5)
    return decoder.to(dtype).eval()


def text(seed: int, tokens: int) -> Tensor:
    """int64 `[tokens]`."""
    return torch.randint(VOCAB, (tokens,), generator=torch.Generator().manual_seed(seed))


def logits(decoder: Decoder, *texts: Tensor) -> Tensor:
    """One pass over packed texts without memory → `[N, V]`."""
    with torch.no_grad():
        return decoder(torch.cat(texts), span([len(t) for t in texts]), use=lambda hidden, head: head.logits(hidden))
