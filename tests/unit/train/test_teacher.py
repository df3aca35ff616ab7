"""Teachers: which are taken, and that nothing around them changes what they say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gemwright.data.pack import Packer
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.text.tokenizer import Tokenizer
from gemwright.train.teacher import Teacher, load_teacher, text_vocabulary


@pytest.fixture
def other_tokenizer(tmp_path: Path, tokenizer: Tokenizer) -> Tokenizer:
    """The tiny tokenizer with two pieces exchanged."""
    tree = json.loads((tokenizer.source).read_text(encoding="utf-8"))
    vocab = tree["model"]["vocab"]
    vocab["y"], vocab["z"] = vocab["z"], vocab["y"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree), encoding="utf-8")
    return Tokenizer.load(tmp_path)


def test_a_teacher_knows_the_pieces_of_its_tokenizer(teacher_folder: Path, tokenizer: Tokenizer) -> None:
    teacher = load_teacher(teacher_folder, tokenizer, row=256)
    assert teacher.vocab == tokenizer.vocab_size < teacher.model.spec.vocab


def test_another_tokenizer_is_refused_with_the_reason(teacher_folder: Path, other_tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="another tokenizer than the student") as caught:
        load_teacher(teacher_folder, other_tokenizer, row=32)
    assert "vocabulary" in caught.value.hint


def test_a_teacher_without_a_tokenizer_is_refused(teacher_folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(teacher_folder, bare, ignore=shutil.ignore_patterns("tokenizer*"))
    with pytest.raises(UserError, match="without a tokenizer"):
        load_teacher(bare, tokenizer, row=32)


def test_rows_longer_than_its_context_are_refused(teacher_folder: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="at most 256"):
        load_teacher(teacher_folder, tokenizer, row=257)


def test_a_packed_teacher_draws_nearly_what_the_plain_one_does(
    teacher_folder: Path, tokenizer: Tokenizer, make_rows: Callable[..., Packer]
) -> None:
    plain = load_teacher(teacher_folder, tokenizer, row=32)
    packed = load_teacher(teacher_folder, tokenizer, row=32, quant="bf16")
    batch = make_rows().take(3)
    one, other = (teacher.samples(batch, 64, 1) for teacher in (plain, packed))
    counts = [
        torch.zeros(len(found.ids), plain.vocab).scatter_add_(1, found.ids, found.counts.float())
        for found in (one, other)
    ]
    assert (counts[0] - counts[1]).abs().sum() < 0.1 * counts[0].sum()


def test_an_autocast_around_it_has_no_say(
    tiny: Callable[[str], Decoder], tokenizer: Tokenizer, make_rows: Callable[..., Packer]
) -> None:
    teacher, batch = Teacher(name="tiny", model=tiny("gemma-2-2b"), vocab=tokenizer.vocab_size), make_rows().take(2)
    with torch.autocast("cpu", torch.bfloat16):
        found = teacher.samples(batch, 16, 1)
    assert torch.equal(found.logprobs, teacher.samples(batch, 16, 1).logprobs)


def test_padding_rows_of_the_table_are_never_drawn(
    tiny: Callable[[str], Decoder], make_rows: Callable[..., Packer]
) -> None:
    teacher, batch = Teacher(name="tiny", model=tiny("gemma-2b"), vocab=5), make_rows().take(2)
    found = teacher.samples(batch, 64, 1)
    assert int(found.ids.max()) == 4
    torch.testing.assert_close(found.shares("report").sum(1), torch.ones(len(found.ids)))


def test_a_teacher_that_gives_no_numbers_is_named(
    tiny: Callable[[str], Decoder], make_rows: Callable[..., Packer], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("gemma-2b")
    monkeypatch.setattr(model.final_norm, "epsilon", float("nan"))
    with pytest.raises(UserError, match="tiny cannot teach"):
        Teacher(name="tiny", model=model, vocab=9).samples(make_rows().take(1), 4, 1)


def test_the_stand_in_for_pictures_is_no_text(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert text_vocabulary(tokenizer) == tokenizer.vocab_size
    monkeypatch.setattr(tokenizer, "image_soft", tokenizer.vocab_size - 1)
    assert text_vocabulary(tokenizer) == tokenizer.vocab_size - 1
