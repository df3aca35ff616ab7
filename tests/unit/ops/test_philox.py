"""Random numbers by place: the published generator, and what follows from looking numbers up."""

import pytest
import torch

from gemwright.ops.philox import philox, uniforms


@pytest.mark.parametrize(
    ("counter", "key", "wanted"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_words_are_those_of_the_published_vectors(
    counter: tuple[int, ...], key: tuple[int, int], wanted: tuple[int, ...]
) -> None:
    assert philox(torch.tensor(counter), key).tolist() == list(wanted)


def test_a_number_belongs_to_its_place() -> None:
    serial, position = torch.tensor([3, 3, 2**40, 0]), torch.tensor([0, 7, 7, 2**31])
    together = uniforms(5, serial, position, 9)
    for index in range(4):
        alone = uniforms(5, serial[index : index + 1], position[index : index + 1], 9)
        assert torch.equal(alone, together[index : index + 1])
    assert torch.equal(uniforms(5, serial, position, 4), together[:, :4])
    assert together.unique().numel() == 36
    assert not (uniforms(6, serial, position, 9) == together).any()


def test_numbers_are_uniform() -> None:
    """Each of 64 bins, and each pair of neighbours among 8 × 8, within five standard errors."""
    found = uniforms(1, torch.zeros(512, dtype=torch.int64), torch.arange(512), 256)
    assert found.min() > 0 and found.max() < 1
    pairs = (found[:, :-1] * 8).long() * 8 + (found[:, 1:] * 8).long()
    for counts in (torch.bincount((found * 64).long().flatten()), torch.bincount(pairs.flatten())):
        expected = counts.sum() / 64
        assert ((counts - expected).abs() < 5 * expected.sqrt()).all()
