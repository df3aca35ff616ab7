"""Packed forms and the plain product with them."""

from __future__ import annotations

import pytest
import torch

from gemwright.ops.matmul import FORMS, Form, Matrix, decode, encode, met, quantise_rows, row_bytes, weight_bytes

# The largest error of a weight, as a share of the largest of its group (blocks) or row (channels).
STEPS = {"bf16": 2**-8, "q8_0": 1 / 254 + 2**-11, "q4_0": 1 / 8 + 2**-11, "int8": 1 / 254, "int4": 1 / 14}
STEPS["sfp8"] = 1 / 30  # half of 1/8, of a largest value of 1.875


@pytest.mark.parametrize("form", FORMS)
def test_a_form_keeps_values_to_half_a_step(form: Form) -> None:
    values = torch.randn(20, 96)
    data, scales = encode(values, form)
    assert data.shape == (20, row_bytes(form, 96))
    groups = values.unflatten(1, (-1, 32)) if form in ("q8_0", "q4_0") else values[:, None]
    allowed = groups.abs().amax(-1, keepdim=True) * STEPS[form] * 1.01
    assert ((decode(data, scales, form) - values).reshape(groups.shape).abs() <= allowed).all()


def test_activations_are_rounded_in_groups_of_32() -> None:
    x = torch.randn(5, 64) * torch.tensor([1.0, 1000.0]).repeat_interleave(32)
    codes, scales = quantise_rows(x)
    assert codes.abs().amax() == 127
    assert torch.equal(scales, x.unflatten(1, (2, 32)).abs().amax(2) / 127)
    assert ((met(x, "q8_0") - x).unflatten(1, (2, 32)).abs() <= 0.501 * scales[..., None]).all()
    assert torch.equal(quantise_rows(torch.zeros(1, 32))[0], torch.zeros(1, 32, dtype=torch.int8))


@pytest.mark.parametrize("form", FORMS)
def test_a_product_is_that_of_the_stored_weights_and_the_rounded_activations(form: Form) -> None:
    matrix, x, bias = Matrix(form, 50, 64), torch.randn(7, 64), torch.randn(50)
    matrix.write(0, torch.randn(30, 64))
    matrix.write(30, torch.randn(20, 64))
    exact = met(x, form).double() @ matrix.read().double().T + bias.double()
    assert torch.allclose(matrix.product(x, bias).double(), exact, atol=1e-4)
    gelu = torch.nn.functional.gelu(exact, approximate="tanh")
    assert torch.allclose(matrix.product(x, bias, gelu=True).double(), gelu, atol=1e-4)
    ids = torch.tensor([3, 49, 3])
    assert torch.equal(matrix.lookup(ids, 2.0), matrix.read()[ids] * 2.0)


@pytest.mark.parametrize("form", FORMS)
def test_bytes_of_a_row_are_counted_as_they_are_held(form: Form) -> None:
    held = Matrix(form, 64, 256).nbytes
    assert weight_bytes(form, 256) == (held / 64 if form != "int4" else 256 // 2 + 4)


def test_columns_must_fill_groups() -> None:
    with pytest.raises(ValueError, match="groups of 32"):
        Matrix("q8_0", 4, 40)
