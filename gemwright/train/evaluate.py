"""How well a model predicts text that it has not been trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from gemwright.data.pack import Packer
from gemwright.data.tokens import TokenFile
from gemwright.nn.decoder import Decoder
from gemwright.train.next_token import next_token
from gemwright.train.sight import Sight, see


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """`loss`: nats per token, end pieces included; `bits_per_byte`: all those nats in bits, over the texts' size in
    UTF-8, a number that does not depend on the tokenizer; `tokens`: how many were predicted."""

    loss: float
    bits_per_byte: float
    tokens: int


@torch.no_grad()
def evaluate(
    model: Decoder,
    tokens: TokenFile,
    *,
    row: int,
    batch: int,
    device: torch.device | str = "cpu",
    sight: Sight | None = None,
) -> Evaluation:
    """Each document of `tokens` once, in rows of at most `row` tokens, `batch` tokens at a time (at least one row);
    pictures are looked at through `sight`."""
    was_training = model.training
    model.eval()
    total = count = 0.0
    for part in Packer(tokens, row=row, seed=0).once(max(batch // row, 1)):
        loss = next_token(model, see(sight, part.to(device)))
        total += float(loss.total)
        count += loss.count
    model.train(was_training)
    return Evaluation(loss=total / count, bits_per_byte=total / math.log(2) / tokens.meta.bytes, tokens=round(count))
