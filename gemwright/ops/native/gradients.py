"""The kernels of training as autograd functions: norms, RoPE, gates, attention, convolution, recurrence.

Each is the fast route of an operation whose plain form stands elsewhere in `ops`, where the caller asks `usable` first.
Activations are float32 or bfloat16, weights float32. On meta the same tensors come out, and are kept for the gradient,
but nothing is computed: so a plan counts what training keeps.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake

from gemwright.ops.native import calls, library, structs
from gemwright.ops.span import Plan, Span

_PARTS = 32  # in which sums over rows are made (PARTS in source/training.h)
_KINDS = {torch.float32: 0, torch.bfloat16: 1}
_LANES = 16


def usable(*tensors: Tensor, channels: int) -> bool:
    """Do the kernels serve activations like these, of so many channels, where a gradient is wanted?"""
    return (
        torch.is_grad_enabled()
        and channels % _LANES == 0
        and all(tensor.dtype in _KINDS and tensor.device.type in ("cpu", "meta") for tensor in tensors)
        and any(tensor.requires_grad for tensor in tensors)
        and calls.available()
    )


def compute_dtype(x: Tensor) -> torch.dtype:
    """What the products that follow will read: autocast's dtype where it is on, else that of `x`."""
    kind = x.device.type if x.device.type != "meta" else "cpu"
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _call(name: str, *arguments: Any) -> None:
    """Runs a kernel; tensors stand for their addresses. Nothing runs where one of them is on meta, or pretended."""
    if any(isinstance(argument, Tensor) and not calls.address(argument) for argument in arguments):
        return
    kernels = library.best()
    assert kernels is not None, "usable() was asked before"
    given = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    getattr(kernels, name)(*given, torch.get_num_threads())


def _fill(structure: ctypes.Structure, **fields: Any) -> ctypes.Structure:
    for name, value in fields.items():
        setattr(structure, name, calls.address(value) if isinstance(value, Tensor) else value)
    return structure


def _sums(x: Tensor, *shape: int) -> Tensor:
    return torch.empty(_PARTS, *shape, dtype=torch.float32, device=x.device)


# --------------------------------------------------------------------------------------------------------------- norms


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, epsilon: float, residual: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        width = x.shape[-1]
        rows = x.numel() // width
        out = torch.empty(x.shape, dtype=dtype, device=x.device)
        factors = torch.empty(rows, device=x.device)
        beside = residual.contiguous() if residual is not None else None
        _call("gw_norm", rows, width, _KINDS[x.dtype], x, weight, epsilon, beside, _KINDS[dtype], out, factors)
        ctx.save_for_backward(x, weight, factors)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, factors = ctx.saved_tensors
        grad = grad.contiguous()
        width, into, sums = x.shape[-1], torch.empty_like(x), _sums(x, x.shape[-1])
        kinds = _KINDS[x.dtype], _KINDS[grad.dtype]
        _call("gw_norm_grad", factors.numel(), width, kinds[0], x, weight, factors, kinds[1], grad, into, sums)
        return into, sums.sum(0), None, grad if ctx.needs_input_grad[3] else None, None


def norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """`rms_norm`, in the dtype of the products that follow. x `[..., D]`, weight float32 `[D]` → `[..., D]`."""
    out = _Norm.apply(x, weight.float(), epsilon, None, compute_dtype(x))
    assert isinstance(out, Tensor)
    return out


def add_norm(residual: Tensor, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """`residual + rms_norm(x)`, float32. residual float32 `[N, D]`, x `[N, D]`."""
    out = _Norm.apply(x, weight.float(), epsilon, residual, torch.float32)
    assert isinstance(out, Tensor)
    return out


# ---------------------------------------------------------------------------------------------------------------- RoPE


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, epsilon: float, cos: Tensor, sin: Tensor) -> Tensor:
        x, out = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
        ctx.shape = (*x.shape, cos.shape[-1], _KINDS[x.dtype])
        ctx.epsilon = epsilon
        _call("gw_turn", *ctx.shape, x, weight, epsilon, cos, sin, out)
        ctx.save_for_backward(x if weight is not None else None, weight, cos, sin)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, cos, sin = ctx.saved_tensors
        grad = grad.contiguous()
        into, sums = torch.empty_like(grad), None if weight is None else _sums(grad, grad.shape[-1])
        _call("gw_turn_grad", *ctx.shape, grad if x is None else x, weight, ctx.epsilon, cos, sin, grad, into, sums)
        return into, None if sums is None else sums.sum(0), None, None, None


def turn(x: Tensor, weight: Tensor | None, epsilon: float, cos: Tensor, sin: Tensor) -> Tensor:
    """QK-norm, where there is a weight `[K]`, and RoPE. x `[N, H, K]`, cos, sin float32 `[N, pairs]` → `[N, H, K]`."""
    out = _Turn.apply(x, None if weight is None else weight.float(), epsilon, cos.contiguous(), sin.contiguous())
    assert isinstance(out, Tensor)
    return out


# --------------------------------------------------------------------------------------------------------------- gates


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        out = torch.empty_like(gate)
        _call("gw_gated", gate.numel(), _KINDS[gate.dtype], gate, up, out)
        ctx.save_for_backward(gate, up)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        gate, up = ctx.saved_tensors
        grad, into_gate, into_up = grad.contiguous(), torch.empty_like(gate), torch.empty_like(up)
        _call("gw_gated_grad", gate.numel(), _KINDS[gate.dtype], gate, up, grad, into_gate, into_up)
        return into_gate, into_up


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """`gelu_tanh(gate) * up`, both `[N, F]` of one dtype."""
    out = _Gated.apply(gate, up)
    assert isinstance(out, Tensor)
    return out


# -------------------------------------------------------------------------------------------------------- soft targets


def soft_targets_(
    scores: Tensor, ids: Tensor, shares: Tensor, weight: Tensor, cap: float | None, temperature: float, z: float
) -> tuple[Tensor, Tensor] | None:
    """`ops.soft_targets.soft_targets_` with its gradient, in one pass over rows that stay in the cache; None where the
    kernels do not serve."""
    serves = scores.dtype in _KINDS and scores.is_contiguous() and scores.device.type == "cpu" and calls.available()
    if not serves:
        return None
    loss, lse = torch.empty(len(scores)), torch.empty(len(scores))
    kept = ids.contiguous(), shares.float().contiguous(), weight.float().contiguous()
    call = _fill(
        structs.SoftTargets(),
        rows=scores.shape[0],
        vocab=scores.shape[1],
        kind=_KINDS[scores.dtype],
        targets=ids.shape[1],
        scores=scores,
        ids=kept[0],
        shares=kept[1],
        weight=kept[2],
        cap=cap or 0.0,
        temperature=temperature,
        z=z,
        loss=loss,
        lse=lse,
    )
    if calls.address(scores):
        _call("gw_soft_targets", ctypes.byref(call))
    return loss, lse


# ----------------------------------------------------------------------------------------------------------- attention


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, span: Span, window: int, scale: float, cap: float
    ) -> Tensor:
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        out = torch.empty_like(query)
        lse = torch.empty(query.shape[:2], device=query.device)
        starts, sequences, runs, ahead = _documents(span.plan, is_fake(query))
        call = _fill(
            structs.Attend(),
            **_heads(query, key, window, scale, cap),
            query=query,
            key=key,
            value=value,
            sequences=sequences,
            sequence_count=len(sequences),
            runs=runs,
            narrow_out=out,
            lse=lse,
            ahead=ahead,
        )
        if calls.address(query):
            _call("gw_attend", ctypes.byref(call))
        ctx.save_for_backward(query, key, value, out, lse, starts, ahead)
        ctx.numbers = window, scale, cap
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        query, key, value, out, lse, starts, ahead = ctx.saved_tensors
        grad = grad.contiguous()
        into = [torch.empty_like(tensor) for tensor in (query, key, value)]
        call = _fill(
            structs.AttendGrad(),
            **_heads(query, key, *ctx.numbers),
            query=query,
            key=key,
            value=value,
            out=out,
            dout=grad,
            lse=lse,
            delta=(delta := torch.empty_like(lse)),
            dquery=into[0],
            dkey=into[1],
            dvalue=into[2],
            starts=starts,
            documents=len(starts) - 1,
            ahead=ahead,
        )
        if calls.address(delta):
            _call("gw_attend_grad", ctypes.byref(call))
        return *into, None, None, None, None


@lru_cache(maxsize=8)  # the layers of a step, and its backward pass where blocks are run again, ask for the same
def _documents(plan: Plan, fake: bool) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Whole documents as the kernels read them: first rows `[D + 1]`, sequences, runs (see source/attend.h), and what
    pictures see. `fake`: while memory is counted, tensors made here hold no numbers, and a real step must not get
    them."""
    starts = torch.tensor(plan.starts, dtype=torch.int64)
    first, count, number = starts[:-1], starts.diff(), torch.arange(len(plan.lengths))
    sequences = torch.stack([first, count, torch.zeros_like(first), number, number + 1], dim=1).contiguous()
    runs = torch.stack([torch.zeros_like(first), count, first, torch.ones_like(first)], dim=1).contiguous()
    return starts, sequences, runs, plan.all_ahead()


def _heads(query: Tensor, key: Tensor, window: int, scale: float, cap: float) -> dict[str, Any]:
    tokens, heads, head_dim = query.shape
    shape = {"tokens": tokens, "heads": heads, "kv_heads": key.shape[1], "head_dim": head_dim}
    return {**shape, "window": window, "scale": scale, "cap": cap}


def attend(
    query: Tensor, key: Tensor, value: Tensor, span: Span, *, window: int | None, scale: float, cap: float | None
) -> Tensor:
    """Whole documents, none with a past. bfloat16 query `[N, H, K]`, key, value `[N, G, K]` → bfloat16 `[N, H, K]`."""
    out = _Attend.apply(query, key, value, span, window or 0, scale, cap or 0.0)
    assert isinstance(out, Tensor)
    return out


# ---------------------------------------------------------------------------------------------------------- recurrence


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, position: Tensor) -> Tensor:
        x = x.contiguous()
        taps = weight[:, 0].flip(1).T.contiguous()  # [T, R], the current token's first
        out = torch.empty_like(x)
        ctx.shape = (*x.shape, len(taps), _KINDS[x.dtype])
        _call("gw_conv", *ctx.shape, x, taps, bias.contiguous(), position, out)
        ctx.save_for_backward(x, taps, position)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, taps, position = ctx.saved_tensors
        grad, into, sums = grad.contiguous(), torch.empty_like(x), _sums(x, len(taps) + 1, x.shape[1])
        _call("gw_conv_grad", *ctx.shape, x, taps, position, grad, into, sums)
        total = sums.sum(0)
        return into, total[:-1].flip(0).T[:, None], total[-1], None


def conv(x: Tensor, weight: Tensor, bias: Tensor, position: Tensor) -> Tensor:
    """The causal convolution within documents. x `[N, R]`, weight `[R, 1, T]`, bias `[R]`, position int32 `[N]`."""
    out = _Conv.apply(x, weight.float(), bias.float(), position)
    assert isinstance(out, Tensor)
    return out


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, decay: Tensor, gate: Tensor, a_param: Tensor, position: Tensor) -> Tensor:
        u, decay, gate, a_param = u.contiguous(), decay.contiguous(), gate.contiguous(), a_param.contiguous()
        states = torch.empty(u.shape, device=u.device)
        out = torch.empty_like(u) if u.dtype != torch.float32 else None
        call = _scan_call(u, decay, gate, a_param, position, states)
        _fill(call, out=out)
        if calls.address(u):
            _call("gw_scan", ctypes.byref(call))
        ctx.save_for_backward(u, decay, gate, a_param, position, states)
        return states if out is None else out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        u, decay, gate, a_param, position, states = ctx.saved_tensors
        grad = grad.contiguous()
        into = [torch.empty_like(tensor) for tensor in (u, decay, gate, a_param)]
        call = _scan_call(u, decay, gate, a_param, position, states)
        _fill(call, dout=grad, du=into[0], ddecay=into[1], dinput=into[2], da_param=into[3])
        if calls.address(u):
            _call("gw_scan_grad", ctypes.byref(call))
        return *into, None


def _scan_call(u: Tensor, decay: Tensor, gate: Tensor, a_param: Tensor, position: Tensor, states: Tensor) -> Any:
    rows, width = u.shape
    return _fill(
        structs.Scan(),
        rows=rows,
        width=width,
        kind=_KINDS[u.dtype],
        u=u,
        decay=decay,
        input=gate,
        a_param=a_param,
        position=position,
        states=states,
    )


def gated_scan(u: Tensor, decay: Tensor, gate: Tensor, a_param: Tensor, position: Tensor) -> Tensor:
    """The RG-LRU from its gates on: `scan(*gated_input(...))`. u, decay, gate (before their sigmoids) `[N, R]` of one
    dtype, a_param float32 `[R]`, position int32 `[N]` → states `[N, R]` in that dtype."""
    out = _Scan.apply(u, decay, gate, a_param.float(), position)
    assert isinstance(out, Tensor)
    return out
