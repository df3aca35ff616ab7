"""The memory of a step of training, counted by running one on tensors that hold nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from weakref import finalize

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gemwright.arch.spec import Model
from gemwright.nn.decoder import Decoder
from gemwright.ops.span import Span, span
from gemwright.planner.live import LiveBytes

# Measured with `measure.PeakMemory` on two x86 cores, torch 2.13, in fifteen runs of 1.4 to 2 GB, which this foretells
# within a tenth.
RUNTIME = 76 << 20  # this package's modules and what torch imports with its optimisers
SCRATCH = 0.07  # of all tensors: buffers inside kernels, and holes that tensors which come and go leave in the heap


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """How many numbers a model has: in the tied table, in all else, and in the matrices of that."""

    table: int
    body: int
    matrices: int


def numbers(spec: Model) -> Numbers:
    """The parameters of a model, counted on itself."""
    with torch.device("meta"):
        model = Decoder(spec)
    table = model.embed.weight.numel()
    sizes = [parameter.numel() for parameter in model.parameters()]
    matrices = [
        parameter.numel()
        for name, parameter in model.layers.named_parameters()
        if parameter.ndim > 1 and not name.endswith(".bias")
    ]
    return Numbers(table=table, body=sum(sizes) - table, matrices=sum(matrices))


@dataclass(frozen=True, kw_only=True)
class Held:
    """Bytes of a step at its peak. `weights`, `gradients`, `moments` (the optimiser's) and the `average` are float32.
    `activations`: what the forward pass keeps for the gradient, without `copies`, the weights in the dtype of the
    products; `head`: what its chunks and the gradient of its table need on top; `backward`: what the backward pass of
    the blocks needs beyond that room, which it takes over. Where a step is one micro-batch, gradients come as
    activations go, and only those that find no room there count. `runtime` and `scratch` were measured once."""

    weights: int
    gradients: int
    moments: int
    average: int
    activations: int
    copies: int
    head: int
    backward: int
    runtime: int
    scratch: int

    @property
    def total(self) -> int:
        """The peak, above a bare `import torch`."""
        return sum(asdict(self).values())

    def to_json(self) -> dict[str, int]:
        """Bytes by part, and the total."""
        return {**asdict(self), "total": self.total}


def held(
    spec: Model,
    *,
    rows: int,
    row: int,
    accumulates: bool,
    compute: torch.dtype,
    recompute: bool,
    average: bool,
    moments: int,
) -> Held:
    """Counts a step whose micro-batches have `rows` rows of `row` tokens. `accumulates`: is there more than one, so
    that gradients are there before the last one begins? `moments`: numbers that the optimiser remembers."""
    # Layers with a window take the same room for one long document, and where documents meet a recurrent layer asks for
    # values, which nothing here has.
    lengths = [row] * rows if "recurrent" not in spec.kinds else [rows * row]
    real = span(lengths)
    with _fake(spec) as model:
        model.recompute = recompute
        parameters = list(model.parameters())
        weights = sum(parameter.nbytes for parameter in parameters)
        if accumulates:
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        ids = torch.zeros(rows * row, dtype=torch.int64)
        with _Watch(parameters, gradients) as live:
            live.run(model, ids, real, compute)
    beyond = live.peak - live.kept - live.head
    late = 0 if accumulates else min(weights, beyond)
    parts = {
        "weights": weights,
        "gradients": weights if accumulates else late,
        "moments": moments * torch.float32.itemsize,
        "average": weights if average else 0,
        "activations": live.kept - live.copies,
        "copies": live.copies,
        "head": live.head,
        "backward": beyond - late,
    }
    return Held(**parts, runtime=RUNTIME, scratch=round(SCRATCH * sum(parts.values())))


@contextmanager
def _fake(spec: Model) -> Iterator[Decoder]:
    """The model, float32, on a pretended CPU, while nothing is computed."""
    with torch.device("meta"):
        model = Decoder(spec)
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in model.modules():
            for name, old in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(torch.empty(old.shape, device="cpu")))
        yield model.train()


class _Watch(LiveBytes):
    """A step's live bytes: `kept` where the forward pass ends, `copies` of the weights among them, and how far the
    `head` goes beyond."""

    def __init__(self, parameters: list[nn.Parameter], gradients: list[Tensor]) -> None:
        super().__init__([*parameters, *gradients])
        self.kept = self.copies = self.head = 0
        self._parameters = {parameter.untyped_storage()._cdata for parameter in parameters}
        self._copied = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation; notice where a parameter is copied in another dtype. A question about values, which
        nothing here has, is answered with yes: does every token count?"""
        if func is torch.ops.aten._local_scalar_dense.default and args[0].dtype == torch.bool:
            return True
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if func is torch.ops.aten._to_copy.default and args[0].untyped_storage()._cdata in self._parameters:
            storage = out.untyped_storage()
            self._copied += storage.nbytes()
            finalize(storage, self._uncopied, storage.nbytes())
        return out

    def _uncopied(self, size: int) -> None:
        self._copied -= size

    def run(self, model: Decoder, ids: Tensor, documents: Span, compute: torch.dtype) -> None:
        """A forward and a backward pass."""
        weight = torch.ones(len(ids))
        highest = 0

        def loss(hidden: Tensor, head: Any) -> Tensor:
            nonlocal highest
            self.kept, self.copies = self.live, self._copied
            highest, self.peak = self.peak, self.live
            hidden.register_hook(after_head)
            return head.cross_entropy(hidden, ids, weight)

        def after_head(_: Tensor) -> None:
            nonlocal highest
            self.head = self.peak - self.kept
            highest = max(highest, self.peak)

        with torch.autocast("cpu", torch.bfloat16, enabled=compute == torch.bfloat16):
            total = model(ids, documents, use=loss)
        total.backward()
        self.peak = max(self.peak, highest)
