"""Every different picture is encoded once, and what was done is not done again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import paint
import pytest
import torch

from gemwright.data.documents import Conversation, Document
from gemwright.errors import UserError
from gemwright.nn.gemma import Tower
from gemwright.nn.init import initialise_tower
from gemwright.train import encode as encoding
from gemwright.train.embeddings import Embeddings
from gemwright.train.encode import encode
from gemwright.train.run import Run


@pytest.fixture
def eyes(make_seeing: Callable[..., Run]) -> Tower:
    """A small tower."""
    run = make_seeing()
    assert run.model.vision is not None
    made = Tower(run.model.vision, run.model.width)
    initialise_tower(made, torch.Generator().manual_seed(1))
    return made


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The fingerprints of what was encoded, in order."""
    seen: list[str] = []
    plain = encoding.look
    monkeypatch.setattr(encoding, "look", lambda tower, one: seen.append(one.sha256) or plain(tower, one))
    return seen


def _chats(*seeds: int) -> list[Document | Conversation]:
    """A text, and a conversation for each picture, which shows the first one as well."""
    text = Document(name="t", key="t", text="the hen")
    return [text, *(paint.chat(("a", [paint.shown(seed), paint.shown(seeds[0])]), ("b", [])) for seed in seeds)]


def test_a_picture_that_comes_often_is_encoded_once(eyes: Tower, tmp_path: Path, looked: list[str]) -> None:
    told: list[int] = []
    found, complete = encode(_chats(1, 2, 3, 2), eyes, tmp_path / "made", shard=2, progress=told.append)
    assert complete and looked == [paint.shown(seed).sha256 for seed in (1, 2, 3)] and told == [1, 2, 3]
    assert len(found) == 3 and len(list((tmp_path / "made").glob("*.bin"))) == 2
    assert sum(path.stat().st_size for path in (tmp_path / "made").glob("*.bin")) == 3 * 4 * 16 * 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_read_is_what_the_tower_says(eyes: Tower, tmp_path: Path, dtype: torch.dtype) -> None:
    eyes = eyes.to(dtype)
    encode(_chats(1, 2, 3), eyes, tmp_path / "made", shard=2)
    found = Embeddings(tmp_path / "made")
    for seed in (3, 1, 2):
        one = paint.shown(seed)
        with torch.no_grad():
            wanted = eyes.encode(torch.from_numpy(one.pixels(56))[None])[0]
        assert found.soft(one.sha256).dtype == dtype and torch.equal(found.soft(one.sha256), wanted)


def test_what_was_interrupted_goes_on_where_it_ended(eyes: Tower, tmp_path: Path, looked: list[str]) -> None:
    _, complete = encode(_chats(1, 2, 3, 4), eyes, tmp_path / "made", shard=2, stop=lambda: len(looked) == 3)
    assert not complete and len(looked) == 3
    found, complete = encode(_chats(1, 2, 3, 4), eyes, tmp_path / "made", shard=2)
    assert complete and len(found) == 4
    assert looked == [paint.shown(seed).sha256 for seed in (1, 2, 3, 4)]


def test_a_shard_without_its_last_file_is_made_again(eyes: Tower, tmp_path: Path, looked: list[str]) -> None:
    encode(_chats(1, 2, 3), eyes, tmp_path / "made", shard=2)
    (tmp_path / "made" / "00000001.json").unlink()
    found, _ = encode(_chats(1, 2, 3), eyes, tmp_path / "made", shard=2)
    assert len(found) == 3 and looked[3:] == [paint.shown(3).sha256]


def test_a_damaged_shard_is_noted_and_made_again(eyes: Tower, tmp_path: Path, looked: list[str]) -> None:
    encode(_chats(1, 2, 3), eyes, tmp_path / "made", shard=2)
    path = tmp_path / "made" / "00000000.bin"
    path.write_bytes(b"\1" + path.read_bytes()[1:])
    with pytest.raises(UserError, match=r"00000000\.bin is damaged"):
        Embeddings(tmp_path / "made").soft(paint.shown(1).sha256)
    notes: list[str] = []
    found, _ = encode(_chats(1, 2, 3), eyes, tmp_path / "made", shard=2, note=notes.append)
    assert notes == ["shard 0 is damaged; it is made again"]
    assert looked[3:] == [paint.shown(seed).sha256 for seed in (1, 2)] and not found.damaged()


def test_what_another_tower_made_is_refused(eyes: Tower, tmp_path: Path) -> None:
    encode(_chats(1), eyes, tmp_path / "made")
    with torch.no_grad():
        eyes.projector.weight += 1
    with pytest.raises(UserError, match="another tower"):
        encode(_chats(2), eyes, tmp_path / "made")
