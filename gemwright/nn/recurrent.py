"""Griffin's recurrent block: convolution, RG-LRU, and a gating branch beside them (Griffin, section 2.3)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from gemwright.arch.spec import Recurrent, Rope
from gemwright.cache.allocate import Step
from gemwright.nn.linear import Linear, gated_by
from gemwright.ops.addends import Addends, with_addends
from gemwright.ops.conv import causal_conv, conv_documents, with_past
from gemwright.ops.rope import Angles
from gemwright.ops.scan import block_linear, enter, gated_input, gated_scan, scan
from gemwright.ops.span import Span


class BlockLinear(nn.Module):
    """A block-diagonal linear map: weight `[B, R/B, R/B]`, inputs first, and bias `[B, R/B]`."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(blocks, width // blocks, width // blocks))
        self.bias = nn.Parameter(torch.empty(blocks, width // blocks))

    def forward(self, x: Float[Tensor, "N R"]) -> Float[Tensor, "N R"]:
        """`[N, R]` → `[N, R]`."""
        return block_linear(x, self.weight, self.bias)


class RgLru(nn.Module):
    """The real-gated linear recurrent unit: gates that see the input only, so that time can be scanned in parallel."""

    def __init__(self, spec: Recurrent) -> None:
        super().__init__()
        self.a_param = nn.Parameter(torch.empty(spec.width))
        self.input_gate = BlockLinear(spec.width, spec.blocks)
        self.a_gate = BlockLinear(spec.width, spec.blocks)

    def forward(
        self,
        u: Float[Tensor, "N R"],
        position: Int[Tensor, " N"],
        memory: tuple[Float[Tensor, "D R"], Int64[Tensor, " D"]] | None,
    ) -> Float[Tensor, "N R"]:
        """u `[N, R]`, position int32 `[N]`, memory: states `[D, R]` and first rows `[D]` → states, float32 `[N, R]`."""
        if memory is None:
            return gated_scan(u, self.a_gate(u), self.input_gate(u), self.a_param, position)
        a, x = gated_input(u, self.a_gate(u), self.input_gate(u), self.a_param, position == 0)
        return scan(*enter(a, x, *memory))


class Conv(nn.Module):
    """A depthwise temporal convolution: weight `[R, 1, taps]`, the last tap on the current token."""

    def __init__(self, width: int, taps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 1, taps))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x: Float[Tensor, "N R"], span: Span, tail: Float[Tensor, "D T R"] | None) -> Float[Tensor, "N R"]:
        """x `[N, R]`, tail `[D, taps - 1, R]` (None: no document has a past) → `[N, R]`."""
        if tail is None:
            return conv_documents(x, span.tensors, self.weight, self.bias)
        rows, index = with_past(x, span.tensors.document, tail.to(x.dtype))
        return causal_conv(rows, index, self.weight, self.bias)


class RecurrentMixer(nn.Module):
    """`linear_out(RG-LRU(conv(linear_x(x))) * gelu_tanh(linear_y(x)))`."""

    def __init__(self, width: int, spec: Recurrent) -> None:
        super().__init__()
        self.spec = spec
        self.linear_x = Linear(width, spec.width)
        self.linear_y = Linear(width, spec.width)
        self.linear_out = Linear(spec.width, width)
        self.conv = Conv(spec.width, spec.conv)
        self.rg_lru = RgLru(spec)

    def forward(
        self,
        x: Float[Tensor, "N D"],
        span: Span,
        angles: dict[Rope, Angles],
        memory: Step | None,
        layer: int,
        addends: Addends | None = None,
    ) -> Float[Tensor, "N D"]:
        """`[N, D]` → `[N, D]`; `layer` is this layer's number, by which the memory knows it;
        `addends`: those of its block. Angles are not used."""
        inputs = with_addends(self.linear_x, x, addends, "mixer.linear_x")
        state, tail, starts = (None, None, None) if memory is None else memory.read(layer)
        u = self.conv(inputs, span, tail)
        past = None if state is None or starts is None else (state, starts)
        states = self.rg_lru(u, span.tensors.position, past)
        if memory is not None:
            memory.write(layer, states, inputs)
        mixed = gated_by(self.linear_y, x, states.to(x.dtype), addends, "mixer.linear_y")
        return with_addends(self.linear_out, mixed, addends, "mixer.linear_out")
