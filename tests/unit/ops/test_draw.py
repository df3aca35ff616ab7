"""The kernel that draws gives the bits of the plain route."""

import pytest
import torch

from gemwright.ops.draw import descend, forks
from gemwright.ops.native import calls


@pytest.mark.parametrize("vocab", [1, 2, 5, 300, 4097])
@pytest.mark.parametrize("samples", [1, 6, 256])
def test_the_kernel_is_the_plain_route_to_the_bit(vocab: int, samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = (3 * torch.randn(7, vocab)).exp()
    shares[1, : vocab - 1] = 0.0
    serial, position = torch.randint(2**40, (7,)), torch.randint(1000, (7,))
    found, total = descend(shares, samples, -5, serial, position)
    monkeypatch.setattr(calls, "available", lambda: False)
    plain, plain_total = descend(shares, samples, -5, serial, position)
    assert torch.equal(found, plain) and torch.equal(total, plain_total)
    assert bool((found[1] == vocab - 1).all())


def test_another_seed_or_place_draws_others() -> None:
    shares, rows = torch.ones(1, 5000), torch.tensor([3])
    base, _ = descend(shares, 50, 1, rows, rows)
    for seed, serial, position in ((2, 3, 3), (1, 4, 3), (1, 3, 4), (1, 3 + 2**32, 3)):
        other, _ = descend(shares, 50, seed, torch.tensor([serial]), torch.tensor([position]))
        assert not torch.equal(base, other)


def test_forks_reach_every_leaf() -> None:
    assert [forks(count) for count in (1, 2, 3, 4, 5, 262144, 262145)] == [0, 1, 2, 2, 3, 18, 19]
