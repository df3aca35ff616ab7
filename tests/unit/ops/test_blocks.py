"""Block formats against the `gguf` package, an independent implementation of ggml's reference functions."""

from __future__ import annotations

import gguf
import numpy
import pytest
import torch
from torch import Tensor

from gemwright.ops import blocks
from gemwright.ops.blocks import Q4_0, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, Format, dequantize, pack, quantize, unpack

WRITTEN = (Q4_0, Q8_0)
ALL = (Q4_0, Q8_0, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K)


def theirs(form: Format) -> gguf.GGMLQuantizationType:
    return gguf.GGMLQuantizationType[form.name]


@pytest.fixture(params=["kernels", "torch"], autouse=True)
def writer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are written by a kernel where there is one, and by torch."""
    if request.param == "torch":
        monkeypatch.setattr(blocks.calls, "quantise_blocks", lambda *arguments: None)


def reference(values: Tensor, form: Format) -> Tensor:
    with numpy.errstate(over="ignore"):  # scales beyond float16
        return torch.from_numpy(gguf.quants.quantize(values.numpy(), theirs(form)))


def awkward() -> dict[str, Tensor]:
    """Rows of 64 values on which a careless rounding shows."""
    ramp = torch.arange(64.0) - 20
    halves = (torch.arange(64) % 16 - 8) + 0.5
    return {
        "zeros": torch.zeros(64),
        "one value": torch.cat([torch.zeros(40), torch.tensor([-3.25]), torch.zeros(23)]),
        "the largest is negative": torch.cat([-ramp[:32].abs() - 1, ramp[32:]]),
        "two largest of both signs": torch.tensor([1.0, -1.0] * 16 + [-1.0, 1.0] * 16),
        "halves of Q4_0's steps": torch.cat([torch.tensor([-8.0]), halves[1:32], torch.tensor([8.0]), halves[33:]]),
        "halves of Q8_0's steps": torch.cat([torch.tensor([127.0]), ramp[1:] + 0.5]),
        "just below a half": torch.cat([torch.tensor([127.0]), torch.full((63,), 0.49999997)]),
        "huge": ramp * 7e4,
        "tiny": ramp * 1e-9,
        "smaller than float16": ramp * 1e-30,
        "negative zeros among numbers": torch.where(torch.arange(64) % 3 == 0, torch.tensor(-0.0), ramp),
    }  # fmt: skip


@pytest.mark.parametrize("form", WRITTEN, ids=lambda form: form.name)
@pytest.mark.parametrize("case", awkward())
def test_awkward_values_give_the_reference_bytes(form: Format, case: str) -> None:
    values = awkward()[case]
    assert torch.equal(quantize(values, form), reference(values, form))


@pytest.mark.parametrize("form", WRITTEN, ids=lambda form: form.name)
@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_random_values_give_the_reference_bytes(form: Format, scale: float) -> None:
    values = torch.randn(64, 480) * scale
    assert torch.equal(quantize(values, form), reference(values, form))


def test_a_block_of_negative_zeros_is_written_as_the_c_reference_writes_it() -> None:
    """Its loop finds no magnitude above 0, so its maximum stays +0 and the scale is -0; gguf's argmax sees the sign."""
    assert quantize(torch.full((32,), -0.0), Q4_0).tolist() == [0x00, 0x80] + [0x88] * 16


@pytest.mark.parametrize("form", ALL, ids=lambda form: form.name)
def test_any_bytes_are_read_as_the_reference_reads_them(form: Format) -> None:
    data = torch.randint(0, 256, (24, 3 * form.bytes), dtype=torch.uint8)
    for start in range(0, data.shape[1], form.bytes):  # scales that are numbers
        for at in (208,) if form == Q6_K else (0, 2):
            data[:, start + at + 1] &= 0xBB
    expected = gguf.quants.dequantize(data.numpy(), theirs(form))
    assert numpy.isfinite(expected).all()
    assert torch.equal(dequantize(data, form), torch.from_numpy(expected))


@pytest.mark.parametrize("form", WRITTEN, ids=lambda form: form.name)
def test_taking_bytes_apart_and_together_changes_nothing(form: Format) -> None:
    data = torch.randint(0, 256, (5, 4, 2 * form.bytes), dtype=torch.uint8)
    codes, scales = unpack(data, form)
    assert codes.shape == (5, 4, 64) and scales.shape == (5, 4, 2)
    assert torch.equal(pack(codes, scales, form), data)


@pytest.mark.parametrize("form", WRITTEN, ids=lambda form: form.name)
def test_a_value_is_its_code_times_its_scale(form: Format) -> None:
    data = quantize(torch.randn(6, 96), form)
    codes, scales = unpack(data, form)
    product = codes.view(6, 3, 32) * scales.float()[:, :, None]
    assert torch.equal(product.view(6, 96), dequantize(data, form))


@pytest.mark.parametrize("form", WRITTEN, ids=lambda form: form.name)
def test_quantising_what_was_read_gives_the_same_values(form: Format) -> None:
    once = dequantize(quantize(torch.randn(16, 128), form), form)
    assert torch.equal(dequantize(quantize(once, form), form), once)


def test_parts_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(40, 96)
    whole = quantize(values, Q4_0)
    monkeypatch.setattr(blocks, "_STEP", 7 * 32)
    assert torch.equal(quantize(values, Q4_0), whole)
    parts = dequantize(whole, Q4_0)
    monkeypatch.undo()
    assert torch.equal(dequantize(whole, Q4_0), parts)


@pytest.mark.parametrize("form", ALL, ids=lambda form: form.name)
def test_rows_that_blocks_do_not_fill_are_refused(form: Format) -> None:
    with pytest.raises(ValueError, match=form.name):
        form.row_bytes(form.block + 8)
    with pytest.raises(ValueError, match=form.name):
        dequantize(torch.zeros(2, form.bytes + 1, dtype=torch.uint8), form)


@pytest.mark.parametrize("form", [Q5_0, Q5_1, Q4_K, Q5_K, Q6_K], ids=lambda form: form.name)
def test_formats_that_are_only_read_are_not_written(form: Format) -> None:
    with pytest.raises(ValueError, match="only read"):
        quantize(torch.zeros(256), form)
