"""Special pieces: what counts as one, and what a new vocabulary gets."""

from __future__ import annotations

import pytest

from gemwright.text import pieces


def test_published_ids_of_the_turn_marks_differ_by_one_between_the_vocabularies():
    assert (pieces.GEMMA_2.ids["<start_of_turn>"], pieces.GEMMA_2.ids["<end_of_turn>"]) == (106, 107)
    assert (pieces.GEMMA_3.ids["<start_of_turn>"], pieces.GEMMA_3.ids["<end_of_turn>"]) == (105, 106)


def test_the_image_placeholder_lies_outside_the_sentencepiece_file():
    assert pieces.GEMMA_3.ids[pieces.IMAGE_SOFT] == pieces.GEMMA_3.size


@pytest.mark.parametrize("name", ["<bos>", "<end_of_turn>", "<unused0>", "<unused6238>", "<2mass>", "[@BOS@]"])
def test_marks_and_reserved_names_are_never_parsed(name: str):
    assert pieces.unparsed(["x", name]) == {name}


def test_every_mark_is_found_among_all_names():
    assert pieces.unparsed(pieces.SPECIAL) == pieces.SPECIAL


@pytest.mark.parametrize("name", ["\n", "▁▁", "<table>", "<unused>", "x<unused1>", "<0x0A>", "bos"])
def test_ordinary_pieces_are_parsed(name: str):
    assert not pieces.unparsed([name])


def test_only_gemma_3_vocabularies_get_image_marks():
    assert pieces.training_specials("gemma3")[2:] == ("<start_of_image>", "<end_of_image>", "<image_soft_token>")
    assert pieces.training_specials("recurrentgemma") == pieces.TURNS


@pytest.mark.parametrize("family", ["gemma1", "gemma2", "gemma3", "recurrentgemma"])
def test_every_family_has_turn_marks(family: str):
    assert pieces.training_specials(family)[:2] == pieces.TURNS


def test_an_unknown_family_is_a_misuse():
    with pytest.raises(ValueError, match="gemma9"):
        pieces.training_specials("gemma9")


def test_large_vocabularies_get_the_whitespace_runs_of_gemma():
    runs = pieces.run_pieces(262_144)
    assert "\n" * 31 in runs
    assert "▁" * 31 in runs
    assert "▁" not in runs
    assert len(runs) == len(set(runs))
