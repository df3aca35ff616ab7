"""The one head: in chunks as in one piece."""

import pytest
import torch
import torch.nn.functional as F

import gemwright.nn.head
from gemwright.arch.presets import preset
from gemwright.nn.embed import Embedding
from gemwright.nn.head import Head


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


def test_nobody_holds_more_than_a_chunk_of_logits(table: Embedding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemwright.nn.head, "_CHUNK_BYTES", 4 * 50 * 3)
    head, rows = Head(table, None), []
    whole = head.logits
    monkeypatch.setattr(head, "logits", lambda hidden: rows.append(hidden.shape[0]) or whole(hidden))
    hidden = torch.randn(10, 16, requires_grad=True)
    head.cross_entropy(hidden, torch.zeros(10, dtype=torch.int64), torch.ones(10)).backward()
    assert sorted(rows) == [1, 1, 3, 3, 3, 3, 3, 3]  # forward, and once more for the gradient


def test_a_batch_without_weight_has_no_loss_and_a_gradient_of_zero(table: Embedding) -> None:
    hidden = torch.randn(3, 16, requires_grad=True)
    loss = Head(table, None).cross_entropy(hidden, torch.zeros(3, dtype=torch.int64), torch.zeros(3))
    loss.backward()
    assert loss.item() == 0.0
    assert hidden.grad is not None and not hidden.grad.any()
