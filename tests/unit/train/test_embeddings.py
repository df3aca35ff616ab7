"""A folder of embeddings is whole, or refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gemwright.errors import UserError
from gemwright.train.embeddings import Embeddings, Facts, create

FACTS = Facts(format=1, tower="t", tokens=2, width=3, dtype="bfloat16")


def _soft(seed: int) -> torch.Tensor:
    return torch.randn(2, 3, generator=torch.Generator().manual_seed(seed)).bfloat16()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards: a and b, c."""
    made = create(tmp_path / "made", FACTS)
    made.add(["a", "b"], [_soft(1), _soft(2)])
    made.add(["c"], [_soft(3)])
    return tmp_path / "made"


def test_pictures_come_back_from_every_shard_to_the_bit(folder: Path) -> None:
    found = Embeddings(folder)
    assert len(found) == 3 and "c" in found and "d" not in found
    for seed, name in ((3, "c"), (1, "a"), (2, "b"), (1, "a")):
        assert torch.equal(found.soft(name), _soft(seed))


def test_a_picture_that_is_not_there_is_told(folder: Path) -> None:
    found = Embeddings(folder)
    found.check_covers(["a", "c"])
    with pytest.raises(UserError, match="lacks 2 of the pictures"):
        found.check_covers(["a", "d", "e", "d"])
    with pytest.raises(UserError, match="does not hold a picture"):
        found.soft("d")


def test_a_new_shard_takes_the_place_of_none_that_is_there(folder: Path) -> None:
    found = Embeddings(folder)
    found.drop(0)
    assert len(found) == 1 and not (folder / "00000000.bin").exists()
    found.add(["d"], [_soft(4)])
    again = Embeddings(folder)
    assert torch.equal(again.soft("d"), _soft(4)) and torch.equal(again.soft("c"), _soft(3))


@pytest.mark.parametrize("name", ["facts.json", "00000000.json", "00000000.bin"])
@pytest.mark.parametrize("data", [None, b"", b"{}", b"[]"])
def test_a_damaged_folder_is_refused(folder: Path, name: str, data: bytes | None) -> None:
    if data is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(data)
    if name == "00000000.json" and data is None:
        assert len(Embeddings(folder)) == 1  # a shard that was never finished
        return
    with pytest.raises(UserError, match=r"damaged|holds no embeddings"):
        Embeddings(folder)


def test_a_folder_of_another_format_tower_or_of_other_things_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another tower"):
        create(folder, Facts(format=1, tower="u", tokens=2, width=3, dtype="bfloat16"))
    (folder / "facts.json").write_text(json.dumps({**vars(FACTS), "format": 2}))
    with pytest.raises(UserError, match="its format is 2"):
        Embeddings(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thing").write_text("")
    with pytest.raises(UserError, match="holds no embeddings"):
        create(tmp_path / "other", FACTS)
