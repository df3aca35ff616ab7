"""Griffin's temporal convolution: depthwise, causal, a few taps, blind to other documents."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from gemwright.ops.native import gradients
from gemwright.ops.span import Tensors


def with_past(
    x: Float[Tensor, "N R"], document: Int[Tensor, " N"], tail: Float[Tensor, "D T R"]
) -> tuple[Float[Tensor, "M R"], Int64[Tensor, " N"]]:
    """Every document's rows behind the inputs that it left off with.

    x `[N, R]`, document int `[N]`, tail `[D, T - 1, R]` → rows `[N + D (T - 1), R]`, and `index` int64 `[N]`: where
    each token's own row stands among them.
    """
    documents, taps, width = tail.shape
    index = torch.arange(x.shape[0], device=x.device) + (document.long() + 1) * taps
    if documents == 1:
        return torch.cat([tail[0], x]), index
    length = x.shape[0] + documents * taps
    own = torch.zeros(length, dtype=torch.bool, device=x.device).index_fill(0, index, True)
    rows = x.new_zeros(length, width).index_copy(0, index, x)
    return rows.index_copy(0, (~own).nonzero().squeeze(1), tail.reshape(-1, width)), index


def causal_conv(
    rows: Float[Tensor, "M R"], index: Int64[Tensor, " N"], weight: Float[Tensor, "R 1 T"], bias: Float[Tensor, " R"]
) -> Float[Tensor, "N R"]:
    """`y_t = bias + Σ_s weight[T - 1 - s] x_{t - s}`: the last tap multiplies the current token.

    rows, index from `with_past`; weight `[R, 1, T]`, bias `[R]` → `[N, R]`.
    """
    taps = weight.shape[-1]
    out = torch.addcmul(bias, rows[index], weight[:, 0, taps - 1])
    for back in range(1, taps):
        out = torch.addcmul(out, rows[index - back], weight[:, 0, taps - 1 - back])
    return out


def conv_documents(
    x: Float[Tensor, "N R"], where: Tensors, weight: Float[Tensor, "R 1 T"], bias: Float[Tensor, " R"]
) -> Float[Tensor, "N R"]:
    """Whole documents, none with a past. x `[N, R]`, weight `[R, 1, T]`, bias `[R]` → `[N, R]`."""
    if gradients.usable(x, channels=x.shape[-1]):
        return gradients.conv(x, weight, bias, where.position)
    rows, index = with_past(x, where.document, x.new_zeros(len(where.starts) - 1, weight.shape[-1] - 1, x.shape[-1]))
    return causal_conv(rows, index, weight, bias)
