"""What adapters add to the rows of a step."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gemwright.ops.addends import Addend, Addends, Chosen, with_addends
from gemwright.ops.low_rank import LowRank


def pair(rank: int, seed: int) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, 12, generator=generator), torch.randn(7, rank, generator=generator)
    return LowRank(a=a, b=b, alpha=5.0, rslora=False)


PAIRS = {0: pair(3, 0), 2: pair(1, 1)}
LAYERS = [{"mlp.up": {number: Addend(one, "cpu") for number, one in PAIRS.items()}}, {}]
ROWS = torch.tensor([2, -1, 0, 0, 2, -1, 1])


def addends() -> Addends:
    found = Chosen(LAYERS, ROWS).layer(0)
    assert found is not None
    return found


def exact(x: Tensor, weight: Tensor) -> Tensor:
    """float64, row by row."""
    out = []
    for row, number in zip(x.double(), ROWS.tolist(), strict=True):
        whole = weight.double()
        if number in PAIRS:
            one = PAIRS[number]
            whole = whole + one.scale * one.b.double() @ one.a.double()
        out.append(whole @ row)
    return torch.stack(out)


def test_each_row_gets_its_own_addend() -> None:
    x, weight = torch.randn(7, 12), torch.randn(7, 12)
    found = with_addends(lambda some: some @ weight.T, x, addends(), "mlp.up")
    assert torch.allclose(found.double(), exact(x, weight), atol=1e-5)


def test_rows_without_an_addend_keep_their_bits() -> None:
    x, made = torch.randn(7, 12), torch.randn(7, 7).bfloat16()
    found = addends().add("mlp.up", x, made)
    same = (found == made).all(1).tolist()
    assert same == [False, True, False, False, False, True, True] and found.dtype == torch.bfloat16


def test_a_sum_is_rounded_once() -> None:
    x, made = torch.randn(7, 12), torch.randn(7, 7).bfloat16()
    addend = LAYERS[0]["mlp.up"][0]
    expected = (made[2].float() + addend(x[2:3])[0]).bfloat16()
    assert torch.equal(addends().add("mlp.up", x, made)[2], expected)


def test_gelu_comes_after_the_addend() -> None:
    x, weight = torch.randn(7, 12), torch.randn(7, 12)

    def product(some: Tensor) -> Tensor:
        return some @ weight.T

    bare = F.gelu(product(x), approximate="tanh")
    found = addends().gelu("mlp.up", x, product, bare)
    assert torch.allclose(found.double(), F.gelu(exact(x, weight), approximate="tanh"), atol=1e-5)
    assert torch.equal(found[1], bare[1])


def test_a_block_whose_rows_have_none_is_left_alone() -> None:
    assert Chosen(LAYERS, ROWS).layer(1) is None
    assert Chosen(LAYERS, torch.tensor([-1, 1])).layer(0) is None


@pytest.mark.parametrize(("names", "found"), [(("mlp.up", "mlp.gate"), True), (("mlp.gate",), False)])
def test_kernels_are_told_of_matrices_with_addends_alone(names: tuple[str, ...], found: bool) -> None:
    assert bool(addends().address(*names)) is found
