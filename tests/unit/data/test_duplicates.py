"""Texts that were there before."""

from __future__ import annotations

import random
import sys

import numpy
import pytest

from gemwright.data.duplicates import PERMUTATIONS, RECALL, Exact, Near, bands, jaccard
from gemwright.data.shingles import word_hashes, words
from gemwright.errors import UserError


def test_the_same_text_in_another_case_and_spacing_is_found_under_the_first_name() -> None:
    exact = Exact()
    exact.add("first", "Some Text\n")
    exact.add("second", "some text")
    assert exact.of("some\t TEXT") == "first" and exact.of("some, text") is None


def _texts() -> list[str]:
    """Families of texts, each with its members changed in a few places up to many."""
    drawn = random.Random(5)
    texts = []
    for _ in range(12):
        base = [f"w{drawn.randrange(500)}" for _ in range(drawn.randrange(3, 120))]
        for changes in (0, 0, 1, 2, 3, 5, 8):
            changed = list(base)
            for _ in range(changes):
                changed[drawn.randrange(len(base))] = f"new{drawn.randrange(1000)}"
            texts.append(" ".join(changed))
    drawn.shuffle(texts)
    return texts


def _sets(text: str) -> set[tuple[str, ...]]:
    found = words(text)
    size = min(5, len(found))
    return {tuple(found[at : at + size]) for at in range(len(found) - size + 1)}


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_near_duplicates_are_those_that_a_comparison_of_all_pairs_finds(threshold: float) -> None:
    texts = _texts()
    near = Near(threshold)
    kept: list[int] = []
    found, expected = [], []
    for number, text in enumerate(texts):
        own = _sets(text)
        like = [at for at in kept if len(own & _sets(texts[at])) / len(own | _sets(texts[at])) >= threshold]
        expected.append(str(like[0]) if like else None)
        if not like:
            kept.append(number)
        found.append(near.of(str(number), word_hashes(text)))
    assert found == expected
    assert 10 < len(kept) < len(texts)


def test_a_candidate_that_is_too_different_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    near = Near(0.8)
    near.of("one", word_hashes("a b c d e f g h i j"))
    monkeypatch.setattr(near._index, "query", lambda _: [0])  # as if the signatures had met by chance
    assert near.of("two", word_hashes("k l m n o p q r s t")) is None


def test_texts_without_a_word_are_no_duplicates() -> None:
    near = Near(0.8)
    assert near.of("one", word_hashes("?")) is None and near.of("two", word_hashes("!")) is None


def test_a_long_text_is_signed_in_parts_to_the_same_end() -> None:
    hashes = word_hashes(" ".join(map(str, range(9000))))
    near = Near(0.8)
    assert near.of("one", hashes) is None
    assert near.of("two", numpy.concatenate([hashes[:4000], hashes[4010:]])) == "one"


def test_the_seed_decides_the_signatures() -> None:
    own = word_hashes("a b c d e f g")
    one, same, other = (Near(0.8, seed=seed)._signature(own).hashvalues.tolist() for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_bands_let_texts_at_the_threshold_meet(threshold: float) -> None:
    count, rows = bands(threshold)
    assert count * rows <= PERMUTATIONS and 1 - (1 - threshold**rows) ** count >= RECALL


def test_jaccard_is_the_share_of_what_either_has() -> None:
    assert jaccard(numpy.asarray([1, 2, 3]), numpy.asarray([2, 3, 4])) == 0.5


def test_without_datasketch_a_person_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(UserError) as caught:
        Near(0.8)
    assert "gemwright[data]" in caught.value.hint and "--near 0" in caught.value.hint


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5, float("nan")])
def test_what_is_no_similarity_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="no threshold"):
        Near(threshold)
