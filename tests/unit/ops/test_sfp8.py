"""SFP8 against its own definition: 255 values, the nearest of which a number becomes."""

from __future__ import annotations

import pytest
import torch

from gemwright.ops.sfp8 import LARGEST, sfp8_decode, sfp8_encode, sfp8_lookup, sfp8_rows

CODES = torch.arange(256, dtype=torch.uint8)
LARGE = [(1 + m / 8) * 2.0**e for e in range(-7, 1) for m in range(8)]
SMALL = [(1 + m / 4) * 2.0**e for e in range(-23, -7) for m in range(4)]
SIZES = [0.0, *SMALL[1:], *LARGE]  # 2^-23 itself is missing: its code is 0


def test_the_codes_are_the_formats_values() -> None:
    assert sfp8_decode(CODES).tolist() == SIZES + [-size for size in SIZES]
    assert max(SIZES) == LARGEST and SIZES[1] == 0.625 * 2**-22


def test_every_value_keeps_its_code() -> None:
    assert torch.equal(sfp8_encode(sfp8_decode(CODES)), torch.where(CODES == 128, 0, CODES))


def test_a_number_becomes_the_nearest_value_and_the_even_code_of_two() -> None:
    sizes = torch.tensor(SIZES, dtype=torch.float64)
    middle = (sizes[1:] + sizes[:-1]) / 2
    random = 2 ** (torch.rand(20_000, dtype=torch.float64) * 26 - 25)
    values = torch.cat([random[random <= LARGEST], middle, middle * (1 + 2**-20), middle * (1 - 2**-20)]).float()
    values = values[values > 1.5 * 2**-23]  # below, the missing 2^-23 makes rules of its own
    distance = (values.double()[:, None] - sizes).abs()
    near = distance.argmin(dim=1)
    beyond = torch.cat([distance, torch.full((len(values), 1), torch.inf, dtype=torch.float64)], dim=1)
    tie = beyond.gather(1, near[:, None]) == beyond.gather(1, near[:, None] + 1)
    expected = torch.where(tie[:, 0] & (near % 2 == 1), near + 1, near)
    assert torch.equal(sfp8_encode(values).long(), expected)
    assert torch.equal(sfp8_encode(-values).long(), expected + 128)


@pytest.mark.parametrize(("value", "code"), [(1.11e-7, 0), (1.12e-7, 1), (2.0**-23, 1), (-1e-8, 0), (-0.0, 0)])
def test_the_smallest_numbers(value: float, code: int) -> None:
    assert sfp8_encode(torch.tensor([value])).tolist() == [code]


@pytest.mark.parametrize("value", [1.9, -2.0, float("nan"), float("inf")])
def test_what_does_not_fit_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"1\.875"):
        sfp8_encode(torch.tensor([0.0, value]))


def test_a_row_is_stretched_to_the_largest_code() -> None:
    weight = torch.randn(5, 64) * torch.tensor([1e-3, 1.0, 50.0, 7.0, 0.0])[:, None]
    codes, multiplier = sfp8_rows(weight)
    assert (codes & 127).amax(dim=1).tolist() == [127, 127, 127, 127, 0]
    error = (sfp8_decode(codes) * multiplier[:, None] - weight).abs()
    assert bool((error <= weight.abs() / 8 + 1e-6 * multiplier[:, None]).all())


def test_the_table_of_pairs_holds_the_values_of_all_codes() -> None:
    every = torch.cartesian_prod(CODES, CODES)
    assert torch.equal(sfp8_lookup(every), sfp8_decode(every))


def test_rows_are_encoded_by_table_as_number_by_number() -> None:
    """Boundaries, what lies one float beside them, and random numbers of every size, in rows whose factor is 1."""
    sizes = torch.tensor(SIZES)
    edges = torch.cat([sizes, (sizes[1:] + sizes[:-1]) / 2, torch.tensor([0.9375 * 2**-23, 0.96875 * 2**-7])])
    bits = edges.view(torch.int32)
    near = torch.cat([(bits + step).clamp(min=0).view(torch.float32) for step in (-2, -1, 0, 1, 2)])
    random = torch.exp2(torch.rand(20_000) * 34 - 33)
    values = torch.cat([near, random]).clamp(max=LARGEST)
    values = torch.cat([values, -values, torch.tensor([LARGEST])])[None]
    codes, multiplier = sfp8_rows(values)
    assert multiplier.tolist() == [1.0] and torch.equal(codes, sfp8_encode(values))
