"""Packed matrices in the kernels' layout, beside the plain reference and float64."""

from __future__ import annotations

import pytest
import torch

from gemwright.ops import matmul
from gemwright.ops.matmul import Form, met
from gemwright.ops.native import library
from gemwright.ops.native.matrix import FORMS, Matrix

SIZES = [(96, 64, 5), (33, 128, 13), (1, 32, 1), (100, 256, 30)]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    return request.param


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(("outputs", "columns", "rows"), SIZES)
def test_a_product_is_float64s_of_the_same_rounded_numbers(form: Form, outputs: int, columns: int, rows: int) -> None:
    matrix, x, bias = Matrix(form, outputs, columns), torch.randn(rows, columns), torch.randn(outputs)
    matrix.write(0, torch.randn(outputs, columns))
    terms = met(x, form).double(), matrix.read().double().T
    exact = terms[0] @ terms[1] + bias.double()
    bound = 3e-6 * (terms[0].abs() @ terms[1].abs() + 1)
    assert ((matrix.product(x, bias).double() - exact).abs() <= bound).all()
    gelu = torch.nn.functional.gelu(exact, approximate="tanh")
    assert ((matrix.product(x, bias, gelu=True).double() - gelu).abs() <= 1.2 * bound).all()


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(("outputs", "columns", "rows"), SIZES)
def test_the_layout_holds_the_references_values(form: Form, outputs: int, columns: int, rows: int) -> None:
    plain, packed, weight = (
        matmul.Matrix(form, outputs, columns),
        Matrix(form, outputs, columns),
        torch.randn(outputs, columns),
    )
    plain.write(0, weight)
    cut = (outputs + 1) // 2
    packed.write(0, weight[:cut])
    if cut < outputs:
        packed.write(cut, weight[cut:])
    assert torch.equal(packed.read(), plain.read())
    ids = torch.randint(outputs, (rows,))
    assert torch.equal(packed.lookup(ids, 0.5), plain.lookup(ids, 0.5))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("rows", [2, 3, 7, 16, 40])
def test_a_rows_result_has_the_same_bits_alone_and_among_others(form: Form, rows: int) -> None:
    matrix, x = Matrix(form, 80, 192), torch.randn(rows, 192)
    matrix.write(0, torch.randn(80, 192))
    together = matrix.product(x)
    assert torch.equal(together, torch.cat([matrix.product(row[None]) for row in x]))


@pytest.mark.usefixtures("kernels")
def test_awkward_blocks_are_taken_as_they_are() -> None:
    # Scales that are subnormal, zero, negative and huge, and the code -128 that no quantiser makes.
    data = torch.randint(0, 256, (32, 34 * 2), dtype=torch.uint8)
    scales = torch.tensor([6e-8, 0.0, -0.5, 60000.0]).half().view(torch.uint8).view(4, 2)
    data[:, 0:2], data[:, 34:36] = scales.repeat(8, 1), scales.flip(0).repeat(8, 1)
    data[:, 2] = 128
    plain, packed = matmul.Matrix("q8_0", 32, 64), Matrix("q8_0", 32, 64)
    plain.write_bytes(0, data), packed.write_bytes(0, data)
    assert torch.equal(packed.read(), plain.read())
    x = torch.randn(3, 64)
    terms = met(x, "q8_0").double(), plain.read().double().T
    assert ((packed.product(x).double() - terms[0] @ terms[1]).abs() <= 3e-6 * (terms[0].abs() @ terms[1].abs())).all()


def test_activations_are_rounded_as_the_reference_rounds_them(kernels: str) -> None:
    x = torch.randn(20, 160) * torch.rand(20, 1) * 100
    x[3, 32:64] = 0
    codes, scales = torch.empty(20, 160, dtype=torch.int8), torch.empty(20, 5)
    starts = torch.empty(20, 5, dtype=torch.int32)
    places = (tensor.data_ptr() for tensor in (x, codes, scales, starts))
    library.load(kernels).gw_quantise_rows(20, 160, *places)
    expected = matmul.quantise_rows(x)
    assert torch.equal(codes, expected[0]) and torch.equal(scales, expected[1])
    assert torch.equal(starts, -128 * codes.unflatten(1, (5, 32)).sum(2, dtype=torch.int32))
