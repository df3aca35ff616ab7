"""The plain objective: minus the log-probability of each next token."""

from __future__ import annotations

from gemwright.data.batch import Batch
from gemwright.nn.decoder import Decoder
from gemwright.train.objective import Sum


def next_token(model: Decoder, batch: Batch) -> Sum:
    """The sum over tokens of `weight * -log p(target)`; the head works inside the model's forward, in chunks."""
    if batch.pictures and batch.soft is None:
        raise ValueError("nobody has looked at the pictures of this batch")
    total = model(
        batch.ids,
        batch.span,
        use=lambda hidden, head: head.cross_entropy(hidden, batch.targets, batch.weight),
        soft=batch.soft,
    )
    return Sum(total=total, count=batch.count)
