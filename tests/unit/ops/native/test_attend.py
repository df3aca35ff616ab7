"""The native attention over the cache's stores, beside float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gemwright.cache.full import FullStore
from gemwright.cache.ring import RingStore
from gemwright.ops.attend import attend_tail
from gemwright.ops.span import Plan

TOKENS = 330
# window, cap, heads, key heads, channels
CASES = [
    (None, None, 4, 1, 64),
    (None, 50.0, 4, 2, 32),
    (100, None, 8, 4, 48),
    (37, 30.0, 2, 2, 16),
    (300, None, 3, 1, 256),
]


def _store(window: int | None, kv_heads: int, head_dim: int) -> FullStore | RingStore:
    size = {"layers": (0,), "kv_heads": kv_heads, "head_dim": head_dim, "dtype": torch.bfloat16, "device": "cpu"}
    if window is None:
        return FullStore(sequences=2, tokens=TOKENS, **size)
    return RingStore(window=window, slack=8, slots=2, **size)


def _drawn(heads: int, kv_heads: int, head_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    shapes = [(TOKENS, heads, head_dim), (TOKENS, kv_heads, head_dim), (TOKENS, kv_heads, head_dim)]
    query, key, value = (torch.randn(shape).bfloat16() for shape in shapes)
    return query, key, value


def _run(store: FullStore | RingStore, tensors: tuple[Tensor, ...], cuts: list[int], cap: float | None) -> Tensor:
    place, past, out = store.open(), 0, []
    for count in cuts:
        step = store.prepare([place], Plan(lengths=(count,), past=(past,), images=()))
        assert step.route is not None, "the native kernel serves bfloat16"
        query, key, value = (tensor[past : past + count] for tensor in tensors)
        out.append(step.attend(0, query, key, value, query.shape[-1] ** -0.5, cap))
        past += count
    store.free(place)
    return torch.cat(out)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(("window", "cap", "heads", "kv_heads", "head_dim"), CASES)
def test_it_is_float64s_attention(
    window: int | None, cap: float | None, heads: int, kv_heads: int, head_dim: int
) -> None:
    tensors = _drawn(heads, kv_heads, head_dim)
    query, key, value = (tensor.double() for tensor in tensors)
    exact = attend_tail(query, key, value, window=window, scale=head_dim**-0.5, cap=cap)
    out = _run(_store(window, kv_heads, head_dim), tensors, [200, 1, 129], cap)
    # Weights are rounded to bfloat16 for the second product.
    assert (out.double() - exact).abs().max() <= 2**-8 * value.abs().max()
    assert (out.double() - exact).square().mean().sqrt() <= 2**-9 * exact.square().mean().sqrt()


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(("window", "cap", "heads", "kv_heads", "head_dim"), CASES)
def test_a_rows_result_has_the_same_bits_however_the_steps_are_cut(
    window: int | None, cap: float | None, heads: int, kv_heads: int, head_dim: int
) -> None:
    tensors = _drawn(heads, kv_heads, head_dim)
    store = _store(window, kv_heads, head_dim)
    whole = _run(store, tensors, [TOKENS], cap)
    for cuts in ([1] * 20 + [TOKENS - 20], [64] * 5 + [10], [9, 100, 8, 1, 200, 12]):
        assert torch.equal(_run(store, tensors, cuts, cap), whole)


@pytest.mark.usefixtures("kernels")
def test_bytes_are_attended_over_as_the_plain_route_does(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = _drawn(4, 2, 32)
    size = {"layers": (0,), "kv_heads": 2, "head_dim": 32, "dtype": torch.bfloat16, "device": "cpu", "int8": True}
    store = FullStore(sequences=2, tokens=TOKENS, **size)
    native = _run(store, tensors, [200, 1, 129], None)
    assert torch.equal(_run(store, tensors, [7] * 47 + [1], None), native)
    held = [tensor.clone() for tensor in store.rows[0]]
    monkeypatch.setattr("gemwright.cache.full.usable", lambda keys: False)
    place = store.open()
    step = store.prepare([place], Plan(lengths=(TOKENS,), past=(0,), images=()))
    plain = step.attend(0, *tensors, 32**-0.5, None)
    assert (native - plain.float()).square().mean().sqrt() <= 2**-8 * plain.float().square().mean().sqrt()
    for ours, theirs in zip(held, store.rows[0], strict=True):
        assert torch.equal(ours[:TOKENS], theirs[:TOKENS])
