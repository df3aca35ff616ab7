"""RMSNorm as a module."""

import torch

from gemwright.nn.norm import RMSNorm


def test_a_weight_of_zero_is_the_plain_norm() -> None:
    norm = RMSNorm(8, 1e-6)
    torch.nn.init.zeros_(norm.weight)
    x = torch.randn(3, 8) * 5
    assert torch.allclose(norm(x).square().mean(-1), torch.ones(3), atol=1e-5)


def test_one_is_added_in_float32() -> None:
    norm = RMSNorm(4, 1e-6).bfloat16()
    torch.nn.init.constant_(norm.weight, 0.00390625)  # 1 + 2⁻⁸ is no bfloat16: added there, it would be lost
    x = torch.full((1, 4), 1.0, dtype=torch.bfloat16) * 1.9921875
    exact = (1 + 0.00390625) * x.double() / (x.double().square().mean() + 1e-6).sqrt()
    assert torch.equal(norm(x), exact.bfloat16())
    assert norm(torch.randn(2, 4).bfloat16()).dtype == torch.bfloat16
