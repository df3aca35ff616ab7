"""The one head: in chunks as in one piece."""

import pytest
import torch
import torch.nn.functional as F

import gemwright.nn.head
from gemwright.arch.presets import preset
from gemwright.nn.embed import Embedding
from gemwright.nn.head import Head
from gemwright.planner.live import LiveBytes


@pytest.fixture
def table() -> Embedding:
    """A table of 50 rows, wide awake: scores reach the cap."""
    table = Embedding(preset("gemma-3-1b", width=16, vocab=50))
    torch.nn.init.normal_(table.weight, std=3.0)
    return table


@pytest.mark.parametrize("cap", [None, 30.0])
def test_logits_are_float32_and_capped(table: Embedding, cap: float | None) -> None:
    hidden = torch.randn(7, 16).bfloat16()
    logits = Head(table.bfloat16(), cap).logits(hidden)
    plain = F.linear(hidden, table.weight).float()
    assert logits.dtype == torch.float32
    assert torch.equal(logits, plain if cap is None else cap * torch.tanh(plain / cap))


@pytest.mark.parametrize("cap", [None, 5.0])
def test_cross_entropy_in_chunks_is_the_whole(
    table: Embedding, cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gemwright.nn.head, "_CHUNK_BYTES", 4 * 50 * 3)  # three rows at a time
    hidden = torch.randn(10, 16, requires_grad=True)
    targets, weight = torch.randint(0, 50, (10,)), torch.rand(10)
    weight[[2, 7]] = 0.0
    loss = Head(table, cap).cross_entropy(hidden, targets, weight)
    grads = torch.autograd.grad(loss, [hidden, table.weight])
    scores = F.linear(hidden, table.weight)
    scores = scores if cap is None else cap * torch.tanh(scores / cap)
    whole = (F.cross_entropy(scores, targets, reduction="none") * weight).sum()
    assert torch.allclose(loss, whole, rtol=1e-5)
    for ours, theirs in zip(grads, torch.autograd.grad(whole, [hidden, table.weight]), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_nobody_holds_more_than_a_chunk_of_scores(table: Embedding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemwright.nn.head, "_CHUNK_BYTES", 4 * 50 * 3)
    hidden = torch.randn(10, 16, requires_grad=True)
    with LiveBytes(held=[hidden, table.weight]) as seen:
        loss = Head(table, None).cross_entropy(hidden, torch.zeros(10, dtype=torch.int64), torch.ones(10))
        loss.backward()
    scores, gradients = 4 * 50 * 3, 4 * (50 + 10) * 16
    assert seen.peak < gradients + 6 * scores  # all ten rows, in a few arrays, would pass it


@pytest.mark.parametrize("own", [False, True])
def test_no_loss_holds_all_scores(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peak of a chunk's few arrays is far below one array of all rows."""
    wide = Embedding(preset("gemma-3-1b", width=4, vocab=4000))
    torch.nn.init.normal_(wide.weight)
    monkeypatch.setattr(gemwright.nn.head, "_CHUNK_BYTES", 4 * 4000 * 10)
    monkeypatch.setattr(gemwright.nn.head, "_BLOCK_BYTES", 4 * 4000 * 5)
    hidden, weight, head = torch.randn(300, 4, requires_grad=True), torch.ones(300), Head(wide, 30.0)
    with LiveBytes() as seen:
        if own:
            loss = head.reduce(hidden, weight, lambda logits, rows: logits.softmax(1).square().sum(1))
        else:
            ids, shares = torch.randint(0, 4000, (300, 8)), torch.rand(300, 8)
            loss = head.soft_cross_entropy(hidden, ids, shares, weight, temperature=2.0)
        loss.backward()
    assert seen.peak < 4 * 4000 * 300 / 3


def test_gradients_are_made_once(table: Embedding) -> None:
    hidden = torch.randn(3, 16, requires_grad=True)
    loss = Head(table, None).cross_entropy(hidden, torch.zeros(3, dtype=torch.int64), torch.ones(3))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="again"):
        loss.backward()


def test_a_table_that_stays_as_it_is_costs_no_gradient(table: Embedding) -> None:
    hidden, targets = torch.randn(3, 16, requires_grad=True), torch.zeros(3, dtype=torch.int64)
    (wanted,) = torch.autograd.grad(Head(table, 5.0).cross_entropy(hidden, targets, torch.ones(3)), hidden)
    table.weight.requires_grad_(False)
    Head(table, 5.0).cross_entropy(hidden, targets, torch.ones(3)).backward()
    assert hidden.grad is not None and torch.equal(hidden.grad, wanted) and table.weight.grad is None


def test_without_gradients_the_losses_are_the_same(table: Embedding) -> None:
    hidden, targets, weight = torch.randn(5, 16), torch.randint(0, 50, (5,)), torch.rand(5)
    head = Head(table, 5.0)
    with_graph = head.cross_entropy(hidden, targets, weight, z=0.01)
    with torch.no_grad():
        assert torch.equal(head.cross_entropy(hidden, targets, weight, z=0.01), with_graph)
        own = head.reduce(hidden, weight, lambda logits, rows: F.cross_entropy(logits, targets[rows], reduction="none"))
        assert torch.allclose(own, head.cross_entropy(hidden, targets, weight))


def test_under_autocast_products_are_bfloat16_and_sums_float32(table: Embedding) -> None:
    hidden = torch.randn(5, 16, requires_grad=True)
    targets, weight = torch.randint(0, 50, (5,)), torch.rand(5)
    with torch.autocast("cpu", torch.bfloat16):
        loss = Head(table, None).cross_entropy(hidden, targets, weight)
        plain = (weight * F.cross_entropy(F.linear(hidden, table.weight).float(), targets, reduction="none")).sum()
    assert loss.dtype == torch.float32 and torch.allclose(loss, plain)
    ours, theirs = (torch.autograd.grad(each, [hidden, table.weight]) for each in (loss, plain))
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == torch.float32 and torch.allclose(one, other, rtol=0.02, atol=0.02)


def test_a_mixture_is_the_sum_of_its_parts(table: Embedding) -> None:
    hidden = torch.randn(6, 16, requires_grad=True)
    targets, ids = torch.randint(0, 50, (6,)), torch.randint(0, 50, (6, 4))
    shares, weight = torch.rand(6, 4), torch.tensor([1.0, 0.0, 0.5, 1.0, 1.0, 0.0])
    head = Head(table, 5.0)
    mixed, plain = head.mixed_cross_entropy(hidden, targets, ids, shares, weight, share=0.75, z=0.0)
    alone = head.cross_entropy(hidden, targets, weight)
    apart = 0.75 * head.soft_cross_entropy(hidden, ids, shares, weight) + 0.25 * alone
    torch.testing.assert_close((mixed, plain), (apart, alone.detach()))
    torch.testing.assert_close(*(torch.autograd.grad(each, table.weight)[0] for each in (mixed, apart)))


def test_a_loss_of_ones_own_is_told_its_rows(table: Embedding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemwright.nn.head, "_CHUNK_BYTES", 4 * 50 * 5)
    monkeypatch.setattr(gemwright.nn.head, "_BLOCK_BYTES", 4 * 50 * 2)
    hidden, weight, seen = torch.randn(9, 16, requires_grad=True), torch.ones(9), []
    weight[[0, 4]] = 0.0

    def loss(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        seen.append(rows.tolist())
        return logits[:, 0] * rows

    total = Head(table, None).reduce(hidden, weight, loss)
    assert seen == [[1, 2], [3, 5], [6], [7, 8]]
    wanted = (weight * torch.arange(9) * (hidden @ table.weight[0])).sum()
    torch.testing.assert_close(total, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(each, hidden)[0] for each in (total, wanted)))


def test_a_batch_without_weight_has_no_loss_and_a_gradient_of_zero(table: Embedding) -> None:
    hidden = torch.randn(3, 16, requires_grad=True)
    loss = Head(table, None).cross_entropy(hidden, torch.zeros(3, dtype=torch.int64), torch.zeros(3))
    loss.backward()
    assert loss.item() == 0.0
    assert hidden.grad is not None and not hidden.grad.any()
