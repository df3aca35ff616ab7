"""Small models of each kind of memory, and a way to run them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from gemwright.arch.presets import preset
from gemwright.cache.allocate import Cache, allocate
from gemwright.cache.store import Handle
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.ops.span import span

SIZES: dict[str, Any] = {"width": 32, "heads": 4, "head_dim": 8, "hidden": 48, "vocab": 60}
MODELS = {
    "full": preset("gemma-2b", depth=2, context=300, **SIZES),
    "capped": preset("gemma-2-2b", depth=4, context=300, window=6, kv_heads=2, query_scalar=8.0, **SIZES),
    "ring": preset("gemma-3-1b", depth=7, context=300, window=6, **SIZES),
    "recurrent": preset("recurrentgemma-2b", depth=4, recurrent_width=24, gate_blocks=4, window=6, **SIZES),
}


class Runner:
    """A model with random weights, its cache, and the logits of any step."""

    def __init__(self, name: str, slack: int = 3, sequences: int = 4, tokens: int = 120) -> None:
        torch.manual_seed(1)
        self.spec = MODELS[name]
        self.model = Decoder(self.spec)
        initialise(self.model, torch.Generator().manual_seed(1))
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.2)
        self.arguments: dict[str, Any] = {"sequences": sequences, "tokens": tokens, "slack": slack}
        self.cache = self.fresh()
        self.ids = torch.randint(0, 60, (tokens,))
        with torch.no_grad():
            self.whole = self.model(self.ids, span([tokens]), use=lambda hidden, head: head.logits(hidden))

    def fresh(self, **changes: Any) -> Cache:
        """Another cache like the first, but for `changes`."""
        return allocate(self.spec, **({"dtype": torch.float32} | self.arguments | changes))

    def feed(self, handles: Sequence[Handle], lengths: Sequence[int], ids: Tensor | None = None) -> list[Tensor]:
        """Append the next tokens of `ids` (the common text by default) to each sequence; their logits."""
        text = self.ids if ids is None else ids
        step = self.cache.prepare(handles, lengths)
        flat = torch.cat([text[h.length : h.length + n] for h, n in zip(handles, lengths, strict=True)])
        out = self.model(flat, step.span, step, lambda hidden, head: head.logits(hidden))
        step.commit()
        return list(out.split(list(lengths)))

    def agrees(self, logits: Tensor, start: int) -> bool:
        """Are these the logits of the whole text from row `start` on, but for float32 rounding?"""
        expected = self.whole[start : start + len(logits)]
        return bool((logits - expected).abs().max() < 2e-5 * self.whole.std())


@pytest.fixture(params=list(MODELS))
def runner(request: pytest.FixtureRequest) -> Runner:
    """One runner for each kind of memory."""
    return Runner(request.param)


@pytest.fixture
def make() -> type[Runner]:
    """The runner's class."""
    return Runner
