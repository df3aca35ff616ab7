"""The kernels of training against the plain operations and their gradients in double precision, on every level."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gemwright.arch.spec import Rope
from gemwright.ops import attend, pointwise, rope, scan
from gemwright.ops.conv import causal_conv, with_past
from gemwright.ops.native import gradients
from gemwright.ops.pointwise import soft_cap
from gemwright.ops.span import Image, span

pytestmark = pytest.mark.usefixtures("kernels")
LENGTHS = (1, 70, 16, 130, 3)
N = sum(LENGTHS)


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def compare(
    fast: Callable[..., Tensor],
    plain: Callable[..., Tensor],
    inputs: list[Tensor],
    dtypes: list[torch.dtype],
    bound: float,
) -> None:
    """The outputs and all gradients of `fast` on rounded inputs are those of `plain` in float64, to `bound` of each
    one's size."""
    rounded = [value.to(dtype) for value, dtype in zip(inputs, dtypes, strict=True)]
    ours = [value.clone().requires_grad_() for value in rounded]
    theirs = [value.double().requires_grad_() for value in rounded]
    out, wanted = fast(*ours), plain(*theirs)
    seed = draw(*out.shape, seed=99).to(out.dtype)
    out.backward(seed)
    wanted.backward(seed.double())
    pairs = [(out, wanted)] + [(a.grad, b.grad) for a, b in zip(ours, theirs, strict=True)]
    for found, right in pairs:
        assert found is not None and right is not None
        assert found.dtype in (torch.float32, torch.bfloat16)
        difference = (found.double() - right).norm() / (right.norm() or seed.double().norm())  # a window of 1: zero
        assert difference < bound, f"{difference:.2e} over {bound:.0e} for {tuple(right.shape)}"


F32, BF16 = torch.float32, torch.bfloat16
BOUND = {F32: 2e-6, BF16: 6e-3}


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("width", [16, 48, 320])
def test_norm(dtype: torch.dtype, width: int) -> None:
    x, weight = draw(N, width), draw(width, seed=1, scale=0.3)
    compare(
        lambda x, w: gradients.norm(x, w, 1e-6),
        lambda x, w: pointwise.rms_norm(x, w, 1e-6),
        [x, weight],
        [dtype, F32],
        BOUND[dtype],
    )


def test_norm_joins_the_residual_stream() -> None:
    residual, x, weight = draw(N, 64), draw(N, 64, seed=1), draw(64, seed=2, scale=0.3)
    compare(
        lambda r, x, w: gradients.add_norm(r, x, w, 1e-6),
        lambda r, x, w: r + pointwise.rms_norm(x, w, 1e-6),
        [residual, x, weight],
        [F32, BF16, F32],
        4e-3,
    )


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize(("head_dim", "channels"), [(32, 32), (48, 24), (256, 256)])
@pytest.mark.parametrize("normed", [False, True])
def test_turn(dtype: torch.dtype, head_dim: int, channels: int, normed: bool) -> None:
    angles = rope.rope_angles(torch.arange(N), Rope(base=10_000.0, factor=1.0, channels=channels))

    def plain(x: Tensor, *weight: Tensor) -> Tensor:
        return rope.rotate(
            pointwise.rms_norm(x, weight[0], 1e-6) if weight else x, (angles[0].double(), angles[1].double())
        )

    inputs = [draw(N, 3, head_dim), draw(head_dim, seed=1, scale=0.3)][: 1 + normed]
    compare(
        lambda x, *w: gradients.turn(x, w[0] if w else None, 1e-6, *angles),
        plain,
        inputs,
        [dtype, F32][: 1 + normed],
        BOUND[dtype],
    )


@pytest.mark.parametrize("dtype", [F32, BF16])
def test_gated(dtype: torch.dtype) -> None:
    inputs = [draw(N, 80, scale=2.0), draw(N, 80, seed=1)]
    compare(gradients.gated, pointwise.gated, inputs, [dtype, dtype], BOUND[dtype])


@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(4, 1, 32), (6, 2, 48), (3, 3, 16), (8, 1, 256)])
@pytest.mark.parametrize("window", [None, 1, 20, 64, 500])
@pytest.mark.parametrize("cap", [None, 3.0])
def test_attend(heads: int, kv_heads: int, head_dim: int, window: int | None, cap: float | None) -> None:
    where = span(LENGTHS)
    numbers = {"window": window, "scale": head_dim**-0.5, "cap": cap}

    def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attend.attend_eager(
            query, key, value, attend.visible_within(where, window), scale=numbers["scale"], cap=cap
        )

    inputs = [draw(N, count, head_dim, seed=seed, scale=2.0) for seed, count in enumerate((heads, kv_heads, kv_heads))]
    compare(lambda q, k, v: gradients.attend(q, k, v, where, **numbers), plain, inputs, [BF16] * 3, 1.5e-2)


@pytest.mark.parametrize("window", [None, 20, 64])
@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("heads", [2, 6])
def test_attend_to_pictures(window: int | None, cap: float | None, heads: int) -> None:
    pictures = [Image(1, 0, 9), Image(1, 30, 40), Image(3, 50, 70), Image(3, 120, 10), Image(4, 0, 3)]
    where = span(LENGTHS, images=pictures)

    def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attend.attend_eager(query, key, value, attend.visible_within(where, window), scale=0.2, cap=cap)

    inputs = [draw(N, count, 32, seed=seed, scale=2.0) for seed, count in enumerate((heads, 2, 2))]
    fast = {"window": window, "scale": 0.2, "cap": cap}
    compare(lambda q, k, v: gradients.attend(q, k, v, where, **fast), plain, inputs, [BF16] * 3, 1.5e-2)


@pytest.mark.parametrize("dtype", [F32, BF16])
def test_convolution(dtype: torch.dtype) -> None:
    where = span(LENGTHS).tensors

    def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        rows, index = with_past(x, where.document, x.new_zeros(len(LENGTHS), 3, 48))
        return causal_conv(rows, index, weight, bias)

    inputs = [draw(N, 48), draw(48, 1, 4, seed=1), draw(48, seed=2)]
    compare(lambda x, w, b: gradients.conv(x, w, b, where.position), plain, inputs, [dtype, F32, F32], BOUND[dtype])


@pytest.mark.parametrize("dtype", [F32, BF16])
def test_recurrence(dtype: torch.dtype) -> None:
    position = span(LENGTHS).tensors.position
    inputs = [draw(N, 48, seed=seed, scale=2.0) for seed in range(3)] + [draw(48, seed=4) - 3.0]
    compare(
        lambda u, r, i, a: gradients.gated_scan(u, r, i, a, position),
        lambda u, r, i, a: scan.scan_loop(*scan.gated_input(u, r, i, a, position == 0)),
        inputs,
        [dtype, dtype, dtype, F32],
        {F32: 2e-5, BF16: 8e-3}[dtype],
    )


@pytest.mark.parametrize("threads", [2, 3])
def test_results_do_not_depend_on_the_number_of_threads(threads: int) -> None:
    where = span(LENGTHS)

    def gather() -> list[Tensor]:
        query, key, value = (draw(N, count, 32, seed=count).bfloat16().requires_grad_() for count in (4, 2, 1))
        weight = draw(64, seed=5).float().requires_grad_()
        x = draw(N, 64).float().requires_grad_()
        out = gradients.attend(query, key, key * value, where, window=20, scale=0.2, cap=None)
        total = out.float().sum() + (gradients.norm(x, weight, 1e-6) * draw(N, 64, seed=8).float()).sum()
        total.backward()
        return [tensor.grad for tensor in (query, key, weight, x) if tensor.grad is not None]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = gather()
        torch.set_num_threads(threads)
        assert all(torch.equal(a, b) for a, b in zip(alone, gather(), strict=True))
    finally:
        torch.set_num_threads(before)


def test_on_meta_the_same_tensors_come_out() -> None:
    query = torch.empty(N, 4, 32, dtype=BF16, device="meta", requires_grad=True)
    key = torch.empty(N, 1, 32, dtype=BF16, device="meta", requires_grad=True)
    out = gradients.attend(query, key, key, span(LENGTHS), window=None, scale=1.0, cap=None)
    out.sum().backward()
    assert out.shape == query.shape and query.grad is not None and query.grad.dtype == BF16


def test_without_a_gradient_the_plain_operations_run() -> None:
    x = draw(4, 16).float()
    assert not gradients.usable(x, channels=16)
    assert gradients.usable(x.requires_grad_(), channels=16)
    assert not gradients.usable(x, channels=24)
    with torch.no_grad():
        assert not gradients.usable(x, channels=16)


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("vocab", [16, 250, 9000])
@pytest.mark.parametrize(("cap", "temperature", "z"), [(None, 1.0, 0.0), (5.0, 1.0, 0.0), (8.0, 2.0, 1e-2)])
def test_soft_targets(dtype: torch.dtype, vocab: int, cap: float | None, temperature: float, z: float) -> None:
    rows, targets = 7, 5
    scores = draw(rows, vocab, scale=4.0).to(dtype)
    ids = torch.randint(0, vocab, (rows, targets), generator=torch.Generator().manual_seed(1))
    ids[:, 1] = ids[:, 0]  # the same id twice
    shares = draw(rows, targets, seed=2).abs().float()
    weight = draw(rows, seed=3).abs().float()

    raw = scores.double().requires_grad_()
    logits = soft_cap(raw, cap) / temperature
    lse = logits.logsumexp(1)
    loss = temperature**2 * ((shares * (lse[:, None] - logits.gather(1, ids))).sum(1) + z * lse.square())
    (weight * loss).sum().backward()
    found = gradients.soft_targets_(scores, ids, shares, weight, cap, temperature, z)

    assert found is not None and raw.grad is not None
    torch.testing.assert_close(found[0].double(), loss.detach(), rtol=3e-6, atol=3e-6)
    torch.testing.assert_close(found[1].double(), lse.detach(), rtol=1e-6, atol=1e-6)
    difference = (scores.double() - raw.grad).norm() / raw.grad.norm()
    assert difference < {F32: 2e-6, BF16: 3e-3}[dtype]
