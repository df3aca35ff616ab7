"""The kernels as torch operators, each with a fake version that only knows shapes.

The plain references stand elsewhere: `ops.matmul` for products, `ops.attend`, `ops.scan` and the modules of `nn`.
Addresses of the kernels' structures travel as whole numbers; whoever passes one keeps what it points to. That of
adapters is 0 where no row has one.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake

from gemwright.ops.native import library, structs

_LIBRARY = torch.library.Library("gemwright", "DEF")
_MET = 192  # keys that a query meets at once (MET in source/attend_all.h)
_LARGE = 8 << 20  # bytes of scratch from which on large pages are asked for
_MADV_HUGEPAGE = getattr(mmap, "MADV_HUGEPAGE", None)


def address(tensor: Tensor) -> int:
    """Where a tensor's numbers begin; 0 for one that holds none (on meta, or pretended)."""
    if tensor.device.type != "cpu" or is_fake(tensor):
        return 0
    return tensor.data_ptr()


def available() -> bool:
    """Are there kernels for this machine?"""
    return library.best() is not None


class _Kept(threading.local):
    """The scratch of a thread's `one_room`."""

    on = False
    tensor: Tensor | None = None


_kept = _Kept()


@contextmanager
def one_room() -> Iterator[None]:
    """As long as this lasts, all calls of the thread have the same scratch: every page that is fresh from the system
    has to be found and cleared, which took up to a seventh of a long prompt's time."""
    if _kept.on:
        yield
        return
    _kept.on = True
    try:
        yield
    finally:
        _kept.on, _kept.tensor = False, None


def room(size: int) -> Tensor:
    """Scratch memory for one call, of `size` bytes or more. Its content is gone with the next call."""
    if not _kept.on:
        return torch.empty(size, dtype=torch.uint8)
    if _kept.tensor is None or len(_kept.tensor) < size:
        _kept.tensor = None  # given back before the larger one is taken
        _kept.tensor = torch.empty(size, dtype=torch.uint8)
        if size >= _LARGE:
            advise_large(_kept.tensor)
    return _kept.tensor


@cache
def rows_bytes(count: int, columns: int, *forms: str) -> int:
    """Bytes that activations take, made ready for matrices of these forms (take_rows in source/kernels.h)."""
    pieces = []
    if "bf16" in forms:
        pieces.append(2 * count * columns)
    if any(form != "bf16" for form in forms):
        pieces += [count * columns, count * columns // 8, count * columns // 8]
    return sum(-(-piece // 64) * 64 for piece in pieces)


@cache
def floats_bytes(*counts: int) -> int:
    """Bytes of float32 arrays, each rounded up as the kernels cut them."""
    return sum(-(-4 * count // 64) * 64 for count in counts)


def quantise_blocks(values: Tensor, form: str, size: int) -> Tensor | None:
    """float32 or bfloat16 `[n, 32]` → uint8 `[n, size]`, blocks of the form "q8_0" or "q4_0"; None where the reference
    has to do it: without kernels, for tensors elsewhere, and for values that are not finite."""
    if library.best() is None or not address(values) or values.dtype not in (torch.float32, torch.bfloat16):
        return None
    values, out, odd = values.contiguous(), torch.empty(len(values), size, dtype=torch.uint8), ctypes.c_int64()
    half, threads = values.dtype == torch.bfloat16, torch.get_num_threads()
    _kernels().gw_quantise_blocks(
        structs.FORMATS[form], len(values), values.data_ptr(), half, out.data_ptr(), ctypes.byref(odd), threads
    )
    return None if odd.value else out


def _kernels() -> ctypes.CDLL:
    kernels = library.best()
    if kernels is None:
        raise RuntimeError("no native kernels were built for this machine")
    return kernels


def advise_large(tensor: Tensor) -> None:
    """Ask the system for large pages under a tensor. It may not listen, and nothing depends on it."""
    if _MADV_HUGEPAGE is None or not address(tensor):
        return
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is not None:
        first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE  # a whole page
        size = tensor.data_ptr() + tensor.nbytes - first
        madvise(ctypes.c_void_p(first), ctypes.c_size_t(max(0, size)), _MADV_HUGEPAGE)


# ----------------------------------------------------------------------------------------------------------- operators


def _linear(x: Tensor, matrix: int, outputs: int, gelu: bool, room: Tensor) -> Tensor:
    out = torch.empty(x.shape[0], outputs)
    _kernels().gw_linear(
        matrix,
        x.shape[0],
        x.data_ptr(),
        None,
        0.0,
        0.0,
        int(gelu),
        out.data_ptr(),
        room.data_ptr(),
        torch.get_num_threads(),
    )
    return out


def _linear_fake(x: Tensor, matrix: int, outputs: int, gelu: bool, room: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], outputs)


def _lookup(ids: Tensor, matrix: int, columns: int, scale: float) -> Tensor:
    out = torch.empty(ids.shape[0], columns)
    _kernels().gw_lookup(matrix, ids.shape[0], ids.data_ptr(), scale, out.data_ptr())
    return out


def _lookup_fake(ids: Tensor, matrix: int, columns: int, scale: float) -> Tensor:
    return ids.new_empty(ids.shape[0], columns, dtype=torch.float32)


def _attention_in(
    x: Tensor,
    layer: int,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    kv_heads: int,
    head_dim: int,
    adapters: int,
    room: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    n = x.shape[0]
    query = torch.empty(n, heads, head_dim, dtype=torch.bfloat16)
    key = torch.empty(n, kv_heads, head_dim, dtype=torch.bfloat16)
    value = torch.empty(n, kv_heads, head_dim, dtype=torch.bfloat16)
    _kernels().gw_attention_in(
        layer,
        n,
        x.data_ptr(),
        cos.data_ptr(),
        sin.data_ptr(),
        query.data_ptr(),
        key.data_ptr(),
        value.data_ptr(),
        adapters,
        room.data_ptr(),
        torch.get_num_threads(),
    )
    return query, key, value


def _attention_in_fake(
    x: Tensor,
    layer: int,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    kv_heads: int,
    head_dim: int,
    adapters: int,
    room: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    n = x.shape[0]
    shapes = ((n, heads, head_dim), (n, kv_heads, head_dim), (n, kv_heads, head_dim))
    query, key, value = (x.new_empty(shape, dtype=torch.bfloat16) for shape in shapes)
    return query, key, value


def _block_out(mixed: Tensor, x: Tensor, layer: int, adapters: int, room: Tensor) -> None:
    _kernels().gw_block_out(
        layer,
        x.shape[0],
        mixed.data_ptr(),
        x.data_ptr(),
        adapters,
        room.data_ptr(),
        torch.get_num_threads(),
    )


def _block_out_fake(mixed: Tensor, x: Tensor, layer: int, adapters: int, room: Tensor) -> None:
    return None


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    memory: list[Tensor],
    targets: Tensor,
    sequences: Tensor,
    runs: Tensor,
    window: int,
    scale: float,
    cap: float,
    write_first: bool,
    ahead: Tensor | None,
) -> Tensor:
    tokens, heads, head_dim = query.shape
    out = torch.empty(tokens, heads, head_dim)
    places = [tensor.data_ptr() for tensor in memory]
    plain, coded = (places, [None] * 4) if len(places) == 2 else ([None] * 2, places)
    call = structs.Attend(
        tokens,
        heads,
        key.shape[1],
        head_dim,
        window,
        scale,
        cap,
        query.data_ptr(),
        key.data_ptr(),
        value.data_ptr(),
        *plain,
        *coded,
        out.data_ptr(),
        targets.data_ptr(),
        int(write_first),
        sequences.data_ptr(),
        sequences.shape[0],
        runs.data_ptr(),
        ahead=None if ahead is None else ahead.data_ptr(),
    )
    _kernels().gw_attend(ctypes.byref(call), torch.get_num_threads())
    return out


def _attend_fake(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    memory: list[Tensor],
    targets: Tensor,
    sequences: Tensor,
    runs: Tensor,
    window: int,
    scale: float,
    cap: float,
    write_first: bool,
    ahead: Tensor | None,
) -> Tensor:
    return query.new_empty(query.shape, dtype=torch.float32)


def _attend_all(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    pictures, tokens, heads, head_dim = query.shape
    query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    out = torch.empty_like(query)
    gathered = room(4 * pictures * heads * -(-tokens // _MET) * _MET * head_dim)
    addresses = (tensor.data_ptr() for tensor in (query, key, value, out, gathered))
    call = structs.AttendAll(pictures, tokens, heads, head_dim, scale, *addresses)
    _kernels().gw_attend_all(ctypes.byref(call), torch.get_num_threads())
    return out


def _attend_all_fake(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    return query.new_empty(query.shape)


def _recurrent_in(
    x: Tensor,
    layer: int,
    width: int,
    state: Tensor,
    tail: Tensor,
    starts: Tensor,
    fresh: Tensor,
    adapters: int,
    room: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    n = x.shape[0]
    states, mixed, inputs = torch.empty(n, width), torch.empty(n, width), torch.empty(n, width, dtype=torch.bfloat16)
    call = structs.Recurrence(
        tail=tail.data_ptr(),
        state=state.data_ptr(),
        starts=starts.data_ptr(),
        fresh=fresh.data_ptr(),
        documents=len(fresh),
        states=states.data_ptr(),
        mixed=mixed.data_ptr(),
    )
    _kernels().gw_recurrent_in(
        layer,
        n,
        x.data_ptr(),
        ctypes.byref(call),
        inputs.data_ptr(),
        adapters,
        room.data_ptr(),
        torch.get_num_threads(),
    )
    return states, mixed, inputs


def _recurrent_in_fake(
    x: Tensor,
    layer: int,
    width: int,
    state: Tensor,
    tail: Tensor,
    starts: Tensor,
    fresh: Tensor,
    adapters: int,
    room: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (x.shape[0], width)
    return x.new_empty(shape), x.new_empty(shape), x.new_empty(shape, dtype=torch.bfloat16)


_OPERATORS = (
    ("linear(Tensor x, int matrix, int outputs, bool gelu, Tensor(a!) room) -> Tensor", _linear, _linear_fake),
    ("lookup(Tensor ids, int matrix, int columns, float scale) -> Tensor", _lookup, _lookup_fake),
    (
        "attention_in(Tensor x, int layer, Tensor cos, Tensor sin, int heads, int kv_heads, int head_dim, "
        "int adapters, Tensor(a!) room) -> (Tensor, Tensor, Tensor)",
        _attention_in,
        _attention_in_fake,
    ),
    (
        "block_out(Tensor mixed, Tensor(a!) x, int layer, int adapters, Tensor(b!) room) -> ()",
        _block_out,
        _block_out_fake,
    ),
    (
        "attend(Tensor query, Tensor key, Tensor value, Tensor(a!)[] memory, Tensor targets, Tensor sequences, "
        "Tensor runs, int window, float scale, float cap, bool write_first, Tensor? ahead) -> Tensor",
        _attend,
        _attend_fake,
    ),
    ("attend_all(Tensor query, Tensor key, Tensor value, float scale) -> Tensor", _attend_all, _attend_all_fake),
    (
        "recurrent_in(Tensor x, int layer, int width, Tensor state, Tensor tail, Tensor starts, Tensor fresh, "
        "int adapters, Tensor(a!) room) -> (Tensor, Tensor, Tensor)",
        _recurrent_in,
        _recurrent_in_fake,
    ),
)
for _schema, _kernel, _fake in _OPERATORS:
    _name = _LIBRARY.define(_schema)
    _LIBRARY.impl(_name, _kernel, "CPU")
    torch.library.register_fake(f"gemwright::{_name}", _fake, lib=_LIBRARY)

linear = torch.ops.gemwright.linear.default
lookup = torch.ops.gemwright.lookup.default
attention_in = torch.ops.gemwright.attention_in.default
block_out = torch.ops.gemwright.block_out.default
attend = torch.ops.gemwright.attend.default
attend_all = torch.ops.gemwright.attend_all.default
recurrent_in = torch.ops.gemwright.recurrent_in.default
