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
    cut = -(-outputs // 2 // packed.together) * packed.together
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


def awkward(outputs: int, columns: int) -> dict[str, torch.Tensor]:
    """Weights that twelve bits hold in one way or another, by what is awkward about them."""
    plain, any_bits = torch.randn(outputs, columns), torch.randint(-(2**15), 2**15, (outputs, columns))
    sparse, wild = plain * (torch.rand(outputs, columns) < 0.5), plain.clone()
    wild[torch.rand(outputs, columns) < 0.01] *= 2.0**-40
    wild[:, 3], wild[5, 7], wild[6, 7], wild[outputs - 1, columns - 1] = -0.0, float("inf"), float("nan"), 3e38
    return {
        "as trained": plain * 0.02,
        "half zeros": sparse,
        "all zeros": plain * 0,
        "one value": torch.full((outputs, columns), -0.37),
        "subnormal": plain * 1e-39,
        "outliers, small ones, infinity and NaN": wild,
        "any bits": any_bits.short().view(torch.bfloat16).float(),
        "rows of other sizes": plain * 2.0 ** -torch.arange(outputs)[:, None],
    }


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("kind", awkward(8, 8))
@pytest.mark.parametrize(("outputs", "columns"), [(32, 32), (100, 256), (70, 1088)])
def test_twelve_bits_hold_every_bfloat16(kind: str, outputs: int, columns: int) -> None:
    weight, packed = awkward(outputs, columns)[kind].bfloat16(), Matrix("bf16", outputs, columns)
    for start, stop in [(0, 32), (32, 64), (64, outputs)]:
        if start < outputs:
            packed.write(start, weight[start:stop])
    assert torch.equal(packed.read().view(torch.int32), weight.float().view(torch.int32))
    ids = torch.randint(outputs, (9,))
    assert torch.equal(packed.lookup(ids, 1.0).view(torch.int32), weight.float()[ids].view(torch.int32))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("kind", ["as trained", "half zeros", "outliers, small ones, infinity and NaN", "any bits"])
@pytest.mark.parametrize("rows", [1, 2, 7, 12, 40, 530])
def test_products_meet_the_very_weights_however_many_rows_there_are(kind: str, rows: int) -> None:
    # One weight a row, times two: a wrong bit shows. What is subnormal some processors' products take for zero.
    outputs, columns = 70, 1088
    weight = awkward(outputs, columns)[kind].bfloat16().nan_to_num(0, 0, 0)
    weight = torch.where((weight.abs() > 2.0**-100) & (weight.abs() < 2.0**100), weight, 0)
    packed, x = Matrix("bf16", outputs, columns), torch.zeros(rows, columns)
    packed.write(0, weight)
    x[torch.arange(rows), torch.randperm(columns)[torch.arange(rows) * 7 % columns]] = 2.0
    assert torch.equal(packed.product(x), x @ weight.float().T)


@pytest.mark.usefixtures("kernels")
def test_trained_weights_take_three_quarters_and_the_worst_ones_not_much_more_than_all() -> None:
    sizes = {}
    for kind, weight in awkward(256, 1024).items():
        packed = Matrix("bf16", 256, 1024)
        packed.write(0, weight)
        sizes[kind] = packed.nbytes / (256 * 1024)
    assert sizes["as trained"] < 1.51 and sizes["half zeros"] < 1.51 and sizes["rows of other sizes"] < 3.51
    assert max(sizes.values()) < 3.51


@pytest.mark.usefixtures("kernels")
def test_rows_of_bfloat16_are_written_in_whole_units() -> None:
    packed, weight = Matrix("bf16", 70, 64), torch.randn(70, 64).bfloat16()
    packed.write(0, weight)
    for start, count in [(0, 33), (1, 32), (64, 5)]:
        with pytest.raises(ValueError, match="whole units of 32"):
            packed.write(start, torch.randn(count, 64))
    assert torch.equal(packed.read(), weight.float())


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
