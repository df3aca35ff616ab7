"""The real-gated linear recurrent unit (Griffin, section 2.4): `h_t = a_t h_{t-1} + x_t`, channel by channel.

Documents lie one after the other in the flat rows. A decay of 0 at a document's first row keeps it apart from the one
before, so one scan serves any number of documents; a remembered state enters through that row's input.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from gemwright.ops.native import gradients
from gemwright.ops.pointwise import wide

_EXPONENT = 8.0  # Griffin's c: the decay is sigmoid(-p) ** (c r)
_STEEPEST = 1e-6  # bounds the square root's slope at 1 / sqrt(1e-6) = 1000 (RecurrentGemma report, section 2)


class _BoundedSqrt(torch.autograd.Function):
    """The square root, its derivative never above 1000: near a = 1 the true slope has no bound."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sqrt()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return grad / (4.0 * x).clamp_min(_STEEPEST).sqrt()


def bounded_sqrt(x: Tensor) -> Tensor:
    """`sqrt(x)` whose derivative is clipped at 1000."""
    out = _BoundedSqrt.apply(x)
    assert isinstance(out, Tensor)
    return out


def block_linear(
    x: Float[Tensor, "N R"], weight: Float[Tensor, "B W W"], bias: Float[Tensor, "B W"]
) -> Float[Tensor, "N R"]:
    """A block-diagonal product. x `[N, R]`, weight `[B, R/B, R/B]` (inputs first), bias `[B, R/B]` → `[N, R]`."""
    blocks, size, _ = weight.shape
    rows = x.view(-1, blocks, size).transpose(0, 1)
    return torch.baddbmm(bias[:, None, :], rows, weight).transpose(0, 1).reshape(x.shape)


def gated_input(
    u: Float[Tensor, "N R"],
    recurrence: Float[Tensor, "N R"],
    input_gate: Float[Tensor, "N R"],
    a_param: Float[Tensor, " R"],
    reset: Bool[Tensor, " N"],
) -> tuple[Float[Tensor, "N R"], Float[Tensor, "N R"]]:
    """The decay `a` and the input `x` of the recurrence, float32 `[N, R]` each.

    With r, i = sigmoid of the two gates: `log a = -8 softplus(a_param) r`, `x = sqrt(1 - a²) i u`. The square a² is
    `exp(2 log a)`: as a product it would cancel to nothing near a = 1. Where `reset` (bool `[N]`: a document's first
    token) the decay is 0 and the input enters whole. u, recurrence, input_gate `[N, R]`, a_param `[R]`.
    """
    log_a = -_EXPONENT * F.softplus(wide(a_param)) * torch.sigmoid(wide(recurrence))
    root = bounded_sqrt(-torch.expm1(2.0 * log_a))
    reset = reset[:, None]
    a = torch.exp(log_a).masked_fill(reset, 0.0)
    return a, torch.where(reset, 1.0, root) * torch.sigmoid(wide(input_gate)) * wide(u)


def scan_loop(a: Float[Tensor, "N R"], x: Float[Tensor, "N R"]) -> Float[Tensor, "N R"]:
    """The reference: one row after the other. a, x `[N, R]` → h `[N, R]`."""
    rows, state = [], torch.zeros_like(x[0])
    for decay, value in zip(a, x, strict=True):
        state = decay * state + value
        rows.append(state)
    return torch.stack(rows)


def _scan_chunks(a: Tensor, x: Tensor) -> Tensor:
    """Scan in about 2 sqrt(N) vector steps: all chunks side by side from a zero state, then the chunks' last states
    one after the other, then each chunk is given the state that reached it. Only products of decays in [0, 1] occur,
    so nothing can overflow."""
    length, width = x.shape
    size = max(1, math.isqrt(length))
    chunks = -(-length // size)
    spare = chunks * size - length
    if spare:
        a, x = F.pad(a, (0, 0, 0, spare)), F.pad(x, (0, 0, 0, spare))
    # Copies, for they are overwritten. `local[t]` becomes the state after row t of every chunk, started from 0, and
    # `through[t]` the share of an older state that is left there.
    a = a.reshape(chunks, size, width).transpose(0, 1).clone(memory_format=torch.contiguous_format)
    local = x.reshape(chunks, size, width).transpose(0, 1).clone(memory_format=torch.contiguous_format)
    through = a
    for row in range(1, size):
        torch.addcmul(local[row], a[row], local[row - 1], out=local[row])
        torch.mul(a[row], through[row - 1], out=through[row])
    carried = torch.zeros_like(local[0])
    for chunk in range(1, chunks):
        torch.addcmul(local[-1, chunk - 1], through[-1, chunk - 1], carried[chunk - 1], out=carried[chunk])
    local.addcmul_(through, carried)
    return local.transpose(0, 1).reshape(chunks * size, width)[:length]


class _Scan(torch.autograd.Function):
    """The chunked scan and its gradient, which is the same recurrence run from the last row to the first."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, x: Tensor) -> Tensor:
        states = _scan_chunks(a, x)
        ctx.save_for_backward(a, states)
        return states

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        a, states = ctx.saved_tensors
        later = torch.cat([torch.zeros_like(a[:1]), a[1:].flip(0)])
        into_x = _scan_chunks(later, grad.flip(0)).flip(0)
        earlier = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
        return into_x * earlier, into_x


def scan(a: Float[Tensor, "N R"], x: Float[Tensor, "N R"]) -> Float[Tensor, "N R"]:
    """`h_t = a_t h_{t-1} + x_t` from a zero state, in parallel. a, x float32 `[N, R]` → h `[N, R]`."""
    out = _Scan.apply(a, x)
    assert isinstance(out, Tensor)
    return out


def enter(
    a: Float[Tensor, "N R"], x: Float[Tensor, "N R"], state: Float[Tensor, "D R"], starts: Int64[Tensor, " D"]
) -> tuple[Float[Tensor, "N R"], Float[Tensor, "N R"]]:
    """Give each document the state it left off with, and part the documents from each other.

    a, x `[N, R]`; state float32 `[D, R]`; starts int64 `[D]`, each document's first row. Returns a, x to scan.
    """
    first = a[starts]
    x = x.index_put((starts,), x[starts] + first * state)
    return a.index_fill(0, starts, 0.0), x


def gated_scan(
    u: Float[Tensor, "N R"],
    recurrence: Float[Tensor, "N R"],
    input_gate: Float[Tensor, "N R"],
    a_param: Float[Tensor, " R"],
    position: Int[Tensor, " N"],
) -> Float[Tensor, "N R"]:
    """`scan(*gated_input(...))`: the states of whole documents, which begin where position is 0. float32 `[N, R]`, or,
    by the kernels of training, u's dtype."""
    if u.dtype == recurrence.dtype == input_gate.dtype and gradients.usable(u, recurrence, channels=u.shape[-1]):
        return gradients.gated_scan(u, recurrence, input_gate, a_param, position)
    return scan(*gated_input(u, recurrence, input_gate, a_param, position == 0))
