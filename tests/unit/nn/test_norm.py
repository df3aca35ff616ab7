"""RMSNorm as a module."""

import torch

from gemwright.nn.norm import RMSNorm


def test_a_weight_of_zero_is_the_plain_norm() -> None:
    norm = RMSNorm(8, 1e-6)
    torch.nn.init.zeros_(norm.weight)
    x = torch.randn(3, 8) * 5
    assert torch.allclose(norm(x).square().mean(-1), torch.ones(3), atol=1e-5)


def test_one_is_added_in_float32() -> None:
    norm = RMSNorm(8, 1e-6).bfloat16()
    torch.nn.init.constant_(norm.weight, 2**-9)  # 1 + 2⁻⁹ is no bfloat16: added there, it would be lost
    x = torch.arange(1, 9)[None].bfloat16()
    exact = (1 + 2**-9) * x.double() / (x.double().square().mean() + 1e-6).sqrt()
    assert torch.equal(norm(x), exact.bfloat16())
    assert not torch.equal(norm(x), (exact / (1 + 2**-9)).bfloat16())
