"""What a loop minimises: a function from (model, batch) to a sum and the count that it is a sum over."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from torch import Tensor

from gemwright.data.batch import Batch
from gemwright.nn.decoder import Decoder

_NOTHING: Mapping[str, Tensor] = MappingProxyType({})


class Sum(NamedTuple):
    """`total`: float32 scalar, the sum of the weighted losses in nats, with its graph; `count`: the weights' sum;
    `parts`: sums of single terms over the same tokens, by name, for the log alone, without a graph.

    Only the loop divides, once, by the count of the whole step: so cutting a step into micro-batches changes nothing.
    """

    total: Tensor
    count: float
    parts: Mapping[str, Tensor] = _NOTHING


class Objective(Protocol):
    """A loss. It has no state of its own that a checkpoint would miss."""

    def __call__(self, model: Decoder, batch: Batch) -> Sum: ...
