"""Rotary positions."""

import pytest
import torch

from gemwright.arch.spec import Rope
from gemwright.ops.rope import inverse_frequencies, rope_angles, rotate


@pytest.mark.parametrize(
    "base, channels, second, last",
    [
        (1e4, 256, 0.930572, 1.07461e-4),
        (1e6, 256, 0.897687, 1.11397e-6),
        (1e4, 128, 0.865964, 1.15478e-4),
        (1e6, 128, 0.805842, 1.24094e-6),
    ],
)
def test_inverse_frequencies_of_the_family(base: float, channels: int, second: float, last: float) -> None:
    plain = inverse_frequencies(Rope(base=base, factor=1.0, channels=channels))
    assert plain[0] == 1.0
    assert plain[1].item() == pytest.approx(second, rel=2e-6)
    assert plain[-1].item() == pytest.approx(last, rel=2e-5)
    assert torch.equal(inverse_frequencies(Rope(base=base, factor=8.0, channels=channels)), plain / 8)


def test_angles_are_exact_where_bfloat16_cannot_count() -> None:
    cos, sin = rope_angles(torch.tensor([257, 99_999]), Rope(base=1e4, factor=1.0, channels=4))
    exact = torch.tensor([257.0, 99_999.0], dtype=torch.float64)
    assert torch.allclose(cos[:, 0].double(), exact.cos(), atol=1e-6)
    assert torch.allclose(sin[:, 0].double(), exact.sin(), atol=1e-6)


def test_rotation_pairs_the_halves_as_complex_numbers() -> None:
    rope = Rope(base=100.0, factor=1.0, channels=8)
    x, position = torch.randn(5, 3, 8), torch.arange(5) * 7
    turned = rotate(x, rope_angles(position, rope))
    angle = position[:, None, None] * inverse_frequencies(rope)
    pairs = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones_like(angle), angle)
    assert torch.allclose(turned, torch.cat([pairs.real, pairs.imag], -1), atol=1e-5)


def test_scores_depend_on_distance_alone() -> None:
    rope = Rope(base=1e4, factor=1.0, channels=16)
    query, key = torch.randn(1, 1, 16), torch.randn(1, 1, 16)

    def score(i: int, j: int) -> float:
        return float(
            (
                rotate(query, rope_angles(torch.tensor([i]), rope)) * rotate(key, rope_angles(torch.tensor([j]), rope))
            ).sum()
        )

    assert score(9, 4) == pytest.approx(score(105, 100), abs=1e-4)


def test_channels_beyond_the_rotated_ones_pass() -> None:
    x = torch.randn(4, 2, 16)
    turned = rotate(x, rope_angles(torch.arange(4), Rope(base=1e4, factor=1.0, channels=8)))
    assert torch.equal(turned[..., 8:], x[..., 8:])
    assert torch.equal(turned[0], x[0])
    assert not torch.allclose(turned[1:, :, :8], x[1:, :, :8])
