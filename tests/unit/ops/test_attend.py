"""Every fast route of attention against the plain reference."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gemwright.ops.attend import attend_documents, attend_eager, attend_rows, attend_tail, visible_within
from gemwright.ops.span import span


def _seen(asked: int, kept: int, window: int | None) -> Tensor:
    distance = torch.arange(kept - asked, kept)[:, None] - torch.arange(kept)[None]
    return (distance >= 0) if window is None else (distance >= 0) & (distance < window)


def _draw(asked: int, kept: int, heads: int, kv_heads: int, head_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.randn(asked, heads, head_dim),
        torch.randn(kept, kv_heads, head_dim),
        torch.randn(kept, kv_heads, head_dim),
    )


def _softly(query: Tensor, key: Tensor, value: Tensor, seen: Tensor, scale: float, cap: float | None) -> Tensor:
    """Attention written once more, one query and one head at a time."""
    out = torch.empty_like(query)
    group = query.shape[1] // key.shape[1]
    for i in range(query.shape[0]):
        for h in range(query.shape[1]):
            scores = key[:, h // group] @ query[i, h] * scale
            if cap is not None:
                scores = cap * torch.tanh(scores / cap)
            weights = torch.exp(scores - scores.max()) * seen[i]
            out[i, h] = (weights[:, None] * value[:, h // group]).sum(0) / weights.sum()
    return out


@pytest.mark.parametrize("cap", [None, 3.0])
def test_the_reference_is_attention(cap: float | None) -> None:
    query, key, value = (part.double() for part in _draw(5, 9, 4, 2, 8))
    seen = _seen(5, 9, 4)
    expected = _softly(query, key, value, seen, 0.4, cap)
    assert torch.allclose(attend_eager(query, key, value, seen, scale=0.4, cap=cap), expected, atol=1e-12)


@given(
    heads=st.sampled_from([(1, 1), (4, 1), (4, 2), (3, 3), (6, 2)]),
    head_dim=st.sampled_from([4, 16, 24]),
    asked=st.integers(1, 200),
    past=st.integers(0, 150),
    window=st.sampled_from([None, 1, 2, 7, 64, 100, 1000]),
    cap=st.sampled_from([None, 5.0]),
    seed=st.integers(0, 2**30),
)
def test_every_route_of_one_document_equals_the_reference(
    heads: tuple[int, int], head_dim: int, asked: int, past: int, window: int | None, cap: float | None, seed: int
) -> None:
    torch.manual_seed(seed)
    parts = [part.requires_grad_() for part in _draw(asked, asked + past, *heads, head_dim)]
    seen = _seen(asked, asked + past, window)
    exact_parts = [part.detach().double().requires_grad_() for part in parts]
    exact = attend_eager(*exact_parts, seen, scale=0.3, cap=cap)
    with torch.no_grad():
        inferred = attend_tail(*parts, window=window, scale=0.3, cap=cap)
    assert (inferred - exact).abs().max() < 1e-5
    trained = attend_tail(*parts, window=window, scale=0.3, cap=cap)
    assert (trained - exact).abs().max() < 1e-5
    weight = torch.randn(trained.shape)
    (trained * weight).sum().backward()
    (exact * weight).sum().backward()
    for ours, theirs in zip(parts, exact_parts, strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert (ours.grad - theirs.grad).abs().max() < 1e-4 * (1 + theirs.grad.abs().max())


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6), window=st.sampled_from([None, 5, 16]))
def test_documents_attend_within_themselves(lengths: list[int], window: int | None) -> None:
    step = span(lengths)
    query, key, value = _draw(sum(lengths), sum(lengths), 4, 2, 8)
    expected = attend_eager(query, key, value, visible_within(step, window), scale=0.5, cap=None)
    out = attend_documents(query, key, value, step, window=window, scale=0.5, cap=None)
    assert torch.allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("cap", [None, 4.0])
@pytest.mark.parametrize("asked", [1, 3])
def test_folded_heads_read_their_own_keys(asked: int, cap: float | None) -> None:
    query, key, value = torch.randn(3, asked, 6, 8), torch.randn(3, 20, 2, 8), torch.randn(3, 20, 2, 8)
    seen = torch.rand(3, asked, 20) < 0.5
    seen[:, :, 0] = True
    bias = torch.zeros(seen.shape).masked_fill(~seen, -math.inf)
    out = attend_rows(query, key, value, bias, scale=0.3, cap=cap)
    for row in range(3):
        expected = attend_eager(query[row], key[row], value[row], seen[row], scale=0.3, cap=cap)
        assert torch.allclose(out[row], expected, atol=1e-5)


def test_a_cap_never_brings_a_hidden_key_back() -> None:
    query, key, value = _draw(40, 40, 2, 1, 8)
    value[20:] = 1e6
    out = attend_tail(query[:20], key[:20], value[:20], window=None, scale=1.0, cap=2.0)
    whole = attend_tail(query, key, value, window=None, scale=1.0, cap=2.0)[:20]
    assert torch.allclose(out, whole, atol=1e-6)


def test_scores_are_capped_and_weighed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    query = torch.full((1, 1, 16), 3.0).bfloat16()
    key = (0.8 + 0.05 * torch.randn(64, 1, 16)).bfloat16()
    value = torch.randn(64, 1, 16).bfloat16()
    rounded = (query[0] @ key[:, 0].T).double()  # the product itself is rounded to bfloat16
    weights = torch.softmax(50 * torch.tanh(rounded / 50), dim=-1)
    exact = weights @ value[:, 0].double()

    def error() -> float:
        out = attend_tail(query, key, value, window=None, scale=1.0, cap=50.0)
        return float((out[0].double() - exact).abs().max())

    ours = error()
    monkeypatch.setattr("gemwright.ops.attend.wide", lambda x: x)
    assert ours < 0.01 < error()
