"""A shard's bytes: what goes in comes out, in as few of them as said."""

from pathlib import Path

import numpy
import pytest

from gemwright.train.shard import RowDraws, Shard, encode, id_bytes


def row(*tokens: list[tuple[int, int, float]]) -> RowDraws:
    """A row whose tokens have these (id, count, log-probability)."""
    flat = [entry for token in tokens for entry in token]
    ids, counts, logprobs = (numpy.array([entry[column] for entry in flat]) for column in range(3))
    entries = numpy.array([len(token) for token in tokens])
    return RowDraws(entries=entries, ids=ids.astype(int), counts=counts.astype(int), logprobs=logprobs)


ROWS = [row([(0, 1, -0.5), (7, 255, -2.0)], [], [(4095, 256, 0.0)]), row([(300, 3, -11.25)])]


@pytest.mark.parametrize(("vocab", "large"), [(1 << 16, 65_535), (262_144, 262_143), (1 << 24, (1 << 24) - 1)])
def test_what_goes_in_comes_out(vocab: int, large: int, tmp_path: Path) -> None:
    rows = [*ROWS, row([(large, 1, -7.5)], [])]
    (tmp_path / "shard").write_bytes(encode(rows, vocab))
    shard = Shard(tmp_path / "shard", vocab)
    assert (shard.rows, shard.tokens, shard.entries) == (3, 6, 5)
    for number, wanted in enumerate(rows):
        found = shard.row(number)
        for name in ("entries", "ids", "counts", "logprobs"):
            assert getattr(found, name).tolist() == getattr(wanted, name).tolist()


def test_an_entry_takes_five_bytes_or_six() -> None:
    more = row(*([(index, 1, -1.0) for index in range(100)] for _ in range(10)))
    less = row(*([(index, 1, -1.0) for index in range(50)] for _ in range(10)))
    for vocab, size in ((65_536, 5), (65_537, 6)):
        assert len(encode([more], vocab)) - len(encode([less], vocab)) == 500 * size


def test_ids_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="three bytes"):
        id_bytes((1 << 24) + 1)


@pytest.mark.parametrize("cut", [3, 20, 60, -1])
def test_a_file_cut_short_is_refused(cut: int, tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(encode(ROWS, 4096)[:cut])
    with pytest.raises(ValueError, match=r"short|begin"):
        Shard(tmp_path / "shard", 4096)


def test_a_file_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(encode(ROWS, 1 << 20))
    with pytest.raises(ValueError, match="fit together"):
        Shard(tmp_path / "shard", 4096)
