"""Draws: keyed by place, from the right distribution, with the right log-probabilities."""

import pytest
import torch

from gemwright.data.batch import Batch, Row
from gemwright.ops.span import span
from gemwright.train import draw as module
from gemwright.train.draw import Samples, draw, join, places


def drawn(logits: torch.Tensor, samples: int = 64, **more: float) -> Samples:
    """Draws at positions 0, 1, … of row 3."""
    rows = torch.arange(len(logits))
    return draw(logits, samples, 7, torch.full_like(rows, 3), rows, **more)


def test_places_count_within_each_row() -> None:
    batch = Batch(
        ids=torch.zeros(7, dtype=torch.int64),
        targets=torch.zeros(7, dtype=torch.int64),
        weight=torch.ones(7),
        span=span([2, 1, 4]),
        rows=(Row(serial=8, tokens=3), Row(serial=9, tokens=4)),
    )
    serial, position = places(batch)
    assert serial.tolist() == [8, 8, 8, 9, 9, 9, 9] and position.tolist() == [0, 1, 2, 0, 1, 2, 3]


def test_counts_follow_the_distribution() -> None:
    """Pearson's chi-squared of 19 × 4,096 draws over 12 ids, within five of its own deviations."""
    logits = 2 * torch.randn(19, 12)
    found = drawn(logits, 4096)
    expected = 4096 * logits.softmax(1)
    counts = torch.zeros(19, 12).scatter_add_(1, found.ids, found.counts.float())
    rare = expected < 5
    statistic = ((counts - expected) ** 2 / expected).masked_fill(rare, 0).sum()
    freedom = int((~rare).sum()) - 19
    assert abs(statistic - freedom) < 5 * (2 * freedom) ** 0.5


def test_ids_ascend_once_each_with_the_teachers_log_probabilities() -> None:
    logits = 3 * torch.randn(6, 40)
    found = drawn(logits, 30, temperature=2.0)
    wanted = (logits / 2).log_softmax(1)
    for row in range(6):
        kept = found.counts[row] > 0
        ids = found.ids[row, kept]
        assert ids.tolist() == sorted(set(ids.tolist())) and int(found.counts[row].sum()) == 30
        torch.testing.assert_close(found.logprobs[row, kept], wanted[row, ids].half().float())  # as a store keeps them
        assert not found.logprobs[row, ~kept].any() and not found.ids[row, ~kept].any()


def test_draws_do_not_know_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(9, 30)
    together = drawn(logits)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 2 * 8 * 30)
    apart = join(
        [
            draw(logits[rows], 64, 7, torch.full((len(rows),), 3), torch.tensor(rows))
            for rows in ([0, 1, 2, 3, 4], [5], [6, 7, 8])
        ]
    )
    for name in ("ids", "counts", "logprobs"):
        assert torch.equal(getattr(together, name), getattr(apart, name))


def test_rounding_noise_of_the_teacher_moves_no_draw() -> None:
    """Noise of 1e-6, as between batches in float32, over 4,096 ids: all draws of 999 in 1,000 positions stay."""
    logits = 2 * torch.randn(500, 4096)
    one, other = drawn(logits, 256), drawn(logits + 1e-6 * torch.randn_like(logits), 256)
    moved = [
        torch.zeros(500, 4096, dtype=torch.int64).scatter_add_(1, found.ids, found.counts) for found in (one, other)
    ]
    assert (moved[0] != moved[1]).any(1).float().mean() <= 1e-3


def test_what_has_no_probability_is_never_drawn() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, float("-inf"), 1.0, float("-inf")]]).expand(200, -1)
    assert set(drawn(logits).ids[drawn(logits).counts > 0].tolist()) == {1, 3}


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        drawn(torch.tensor([[0.0, float("nan")]]))


def test_shares_sum_to_one_in_both_wordings() -> None:
    logits = 2 * torch.randn(5, 20)
    found = drawn(logits, 8)
    counted, reported = found.shares("counts"), found.shares("report")
    torch.testing.assert_close(counted, found.counts / 8)
    rounded = logits.log_softmax(1).half().float()  # as a store keeps them
    kept = rounded.exp().gather(1, found.ids) * (found.counts > 0)
    torch.testing.assert_close(reported, kept / kept.sum(1, keepdim=True))
    assert not torch.allclose(counted, reported)
