"""Each fast route of an operation against its plain reference."""

from __future__ import annotations

from dataclasses import replace

import pytest
import small
import torch
import torch.nn.functional as F
from equivalence import GRADIENTS, VALUES, equivalence, off
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gemwright.arch.spec import Attention, Layer, Mlp, Rope
from gemwright.cache.allocate import allocate
from gemwright.nn import head as head_module
from gemwright.ops.attend import attend_documents, attend_eager, attend_tail, visible_within
from gemwright.ops.scan import scan, scan_loop
from gemwright.ops.span import span

caps = st.sampled_from([None, 3.0, 50.0])
windows = st.sampled_from([None, 1, 2, 7, 64, 100])
groups = st.sampled_from([(1, 1), (4, 1), (4, 2), (4, 4), (6, 3)])  # H, G
widths = st.sampled_from([2, 8, 24])
seeds = st.integers(0, 1000)
SCALE = 0.6


def drawn(seed: int, tokens: int, heads: tuple[int, int], width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values whose gradients are wanted."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (heads[0], heads[1], heads[1])
    query, key, value = (torch.randn(tokens, count, width, generator=generator).requires_grad_() for count in shapes)
    return query, key, value


def both_ways(out: Tensor, inputs: tuple[Tensor, ...], seed: int) -> list[Tensor]:
    """An output and its gradients against a random direction."""
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed + 1))
    return [out.detach(), *torch.autograd.grad(out, inputs, direction)]


def agree(fast: list[Tensor], plain: list[Tensor]) -> None:
    """An output and its gradients, the latter in units of the input where they cancel."""
    assert off(fast[0], plain[0]) <= VALUES
    for mine, reference in zip(fast[1:], plain[1:], strict=True):
        assert off(mine, reference, least=1.0) <= GRADIENTS


@equivalence("attention over packed documents = eager, gradients too", "round")
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=3),
    heads=groups,
    width=widths,
    window=windows,
    cap=caps,
    seed=seeds,
)
def test_documents(
    lengths: list[int], heads: tuple[int, int], width: int, window: int | None, cap: float | None, seed: int
) -> None:
    inputs, step = drawn(seed, sum(lengths), heads, width), span(lengths)
    fast = attend_documents(*inputs, step, window=window, scale=SCALE, cap=cap)
    plain = attend_eager(*inputs, visible_within(step, window), scale=SCALE, cap=cap)
    agree(both_ways(fast, inputs, seed), both_ways(plain, inputs, seed))


@equivalence("attention of a document's last tokens = eager's last rows, gradients too", "round")
@given(
    tokens=st.integers(1, 200),
    asked=st.integers(1, 200),
    heads=groups,
    width=widths,
    window=windows,
    cap=caps,
    gradients=st.booleans(),
    seed=seeds,
)
def test_tail(
    tokens: int,
    asked: int,
    heads: tuple[int, int],
    width: int,
    window: int | None,
    cap: float | None,
    gradients: bool,
    seed: int,
) -> None:
    asked = min(asked, tokens)
    inputs = drawn(seed, tokens, heads, width)
    plain = attend_eager(*inputs, visible_within(span([tokens]), window), scale=SCALE, cap=cap)[-asked:]
    with torch.set_grad_enabled(gradients):
        query, key, value = inputs
        fast = attend_tail(query[-asked:], key, value, window=window, scale=SCALE, cap=cap)
    if not gradients:
        assert off(fast, plain.detach()) <= VALUES
        return
    agree(both_ways(fast, inputs, seed), both_ways(plain, inputs, seed))


@equivalence("blocks and rings, written in any steps = eager over all keys", "round")
@given(
    cut=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    heads=groups,
    width=widths,
    window=windows,
    cap=caps,
    slack=st.integers(0, 6),
    seed=seeds,
)
def test_stores(
    cut: list[int], heads: tuple[int, int], width: int, window: int | None, cap: float | None, slack: int, seed: int
) -> None:
    """Not the model, but the memory of one layer, step by step, beside attention over everything that it was given."""
    mixer = Attention(
        heads=heads[0],
        kv_heads=heads[1],
        head_dim=width,
        window=window,
        rope=Rope(base=1e4, factor=1.0, channels=width),
        query_scalar=SCALE**-2,
        cap=cap,
        qk_norm=False,
        out_bias=False,
    )
    layer = Layer(mixer=mixer, mlp=Mlp(hidden=8, bias=False), post_norms=False)
    spec = replace(small.SPECS["global"], layers=(layer,))
    tokens = sum(cut)
    query, key, value = (tensor.detach() for tensor in drawn(seed, tokens, heads, width))
    plain = attend_eager(query, key, value, visible_within(span([tokens]), window), scale=SCALE, cap=cap)
    cache = allocate(spec, sequences=1, tokens=tokens, slack=slack, dtype=torch.float32)
    handle, out = cache.open(), []
    for part in zip(query.split(cut), key.split(cut), value.split(cut), strict=True):
        step = cache.prepare([handle], [len(part[0])])
        out.append(step.attend(0, *part, mixer))
        step.commit()
    assert off(torch.cat(out), plain) <= VALUES


@equivalence("the parallel scan = the loop, gradients too", "round")
@given(lengths=st.lists(st.integers(1, 120), min_size=1, max_size=4), width=st.integers(1, 9), seed=seeds)
def test_scan(lengths: list[int], width: int, seed: int) -> None:
    """Decays of all sizes, 0 and 1 among them, and 0 where a document begins."""
    generator = torch.Generator().manual_seed(seed)
    rows = sum(lengths)
    decay = torch.sigmoid(6 * torch.randn(rows, width, generator=generator))
    decay[torch.rand(rows, width, generator=generator) < 0.05] = 1.0
    decay[list(span(lengths).plan.starts[:-1])] = 0.0
    inputs = (decay.requires_grad_(), torch.randn(rows, width, generator=generator).requires_grad_())
    fast, plain = (both_ways(route(*inputs), inputs, seed) for route in (scan, scan_loop))
    agree(fast, plain)


@pytest.mark.parametrize("name", small.NAMES)
@pytest.mark.parametrize("rows", [1, 3, 7])
@equivalence("the loss in chunks = the whole, gradients too", "round")
def test_loss(name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows of logits at a time, rows without weight dropped, against one cross entropy over all of them."""
    monkeypatch.setattr(head_module, "_CHUNK_BYTES", rows * 4 * small.VOCAB)
    head = small.model(name).head
    table = small.model(name).embed.weight
    generator = torch.Generator().manual_seed(0)
    hidden = (4 * torch.randn(20, small.SPECS[name].width, generator=generator)).requires_grad_()
    targets = small.text(0, 20)
    weight = torch.rand(20, generator=generator) * (torch.arange(20) % 4 > 0)
    whole = (weight * F.cross_entropy(head.logits(hidden), targets, reduction="none")).sum()
    chunked = head.cross_entropy(hidden, targets, weight)
    assert off(chunked.reshape(1), whole.reshape(1)) <= VALUES
    for mine, reference in zip(
        torch.autograd.grad(chunked, (hidden, table)), torch.autograd.grad(whole, (hidden, table)), strict=True
    ):
        assert off(mine, reference) <= VALUES
