"""An awake checkpoint, the transformers model that wrote it, and ours that was read from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import awake
import torch
from torch import Tensor
from transformers import PreTrainedModel

from gemwright.arch.spec import Model
from gemwright.loading import load_model
from gemwright.nn.decoder import Decoder

TOLERANCE = 2e-5  # of the standard deviation of the oracle's logits


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The two sides of one checkpoint, float32. `logits` keeps the oracle's runs."""

    case: str
    folder: Path
    theirs: PreTrainedModel
    logits: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    @cached_property
    def ours(self) -> Decoder:
        """Our model, read from the folder."""
        return load_model(self.folder, dtype=torch.float32, device="cpu").model.requires_grad_(False)

    @property
    def spec(self) -> Model:
        """What our reader made of the folder's config."""
        return self.ours.spec

    def text(self, seed: int, tokens: int = awake.TEXT) -> tuple[Tensor, Tensor]:
        """Random ids `[N]`, and the logits `[N, V]` that transformers gives them."""
        ids = awake.text(seed, tokens)
        if (seed, tokens) not in self.logits:
            self.logits[seed, tokens] = awake.oracle(self.theirs, ids)
        return ids, self.logits[seed, tokens]


Pairs = Callable[[str], Pair]


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of two logits, in standard deviations of the oracle's."""
    return ((ours - theirs).abs().max() / theirs.std()).item()
