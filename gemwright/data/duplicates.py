"""Texts that were there before: the same but for case and white space, or nearly the same.

Near duplicates are texts whose sets of shingles (runs of `SHINGLE` words) have at least a given Jaccard similarity,
|A ∩ B| / |A ∪ B|. MinHash signatures, cut into bands, find the candidates (Broder, "On the resemblance and containment
of documents", 1997; Leskovec, Rajaraman, Ullman, "Mining of massive datasets", section 3.4); each candidate is then
compared shingle by shingle, so that a chance meeting of signatures never counts.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy

from gemwright.data.shingles import normalised, shingles
from gemwright.errors import UserError

SHINGLE = 5  # words
PERMUTATIONS = 128  # hashes of a signature
RECALL = 0.99  # of pairs that are exactly as similar as the threshold; more similar ones are missed more rarely
_PART = 4096  # shingles signed at a time: they take PERMUTATIONS numbers each


class Exact:
    """Texts by their normalised form. Memory holds 16 bytes and a name for each."""

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}

    def of(self, text: str) -> str | None:
        """The name under which the same text was added, or None."""
        return self._names.get(_key(text))

    def add(self, name: str, text: str) -> None:
        """One text more; of two that are the same the first one's name stays."""
        self._names.setdefault(_key(text), name)


class Near:
    """Texts by their shingles. Memory holds 8 bytes for each different shingle, and the bands of the signatures.

    `threshold`: the Jaccard similarity, above 0 and up to 1, from which texts count as near duplicates. The same
    `seed` gives the same answers. Raises `UserError` where datasketch is not installed.
    """

    def __init__(self, threshold: float, *, seed: int = 1) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"{threshold} is no threshold: a similarity above 0 and up to 1")
        try:
            from datasketch import MinHash, MinHashLSH
        except ImportError as error:
            raise UserError(
                "near duplicates are found by datasketch, which is not installed",
                hint="pip install 'gemwright[data]', or do not look for them (--near 0)",
            ) from error
        self._threshold = threshold
        self._blank: Any = MinHash(num_perm=PERMUTATIONS, seed=seed, hashfunc=int)
        self._index: Any = MinHashLSH(num_perm=PERMUTATIONS, params=bands(threshold))
        self._names: list[str] = []
        self._shingles: list[numpy.ndarray] = []

    def of(self, name: str, hashes: numpy.ndarray) -> str | None:
        """The name of the first added text that this one is nearly the same as; where there is none, the text is
        added and None returned. `hashes` are those of its words, uint64 `[words]`.

        A text of fewer than `SHINGLE` words is one shingle, and one without a word is like no other.
        """
        if not len(hashes):
            return None
        own = numpy.unique(shingles(hashes, min(SHINGLE, len(hashes))))
        signature = self._signature(own)
        for number in sorted(self._index.query(signature)):
            if jaccard(own, self._shingles[number]) >= self._threshold:
                return self._names[number]
        self._index.insert(len(self._names), signature, check_duplication=False)
        self._names.append(name)
        self._shingles.append(own)
        return None

    def _signature(self, own: numpy.ndarray) -> Any:
        signature = self._blank.copy()
        short = own >> numpy.uint64(32)  # datasketch's numbers have 32 bits
        for first in range(0, len(short), _PART):
            signature.update_batch(short[first : first + _PART].tolist())
        return signature


def jaccard(one: numpy.ndarray, other: numpy.ndarray) -> float:
    """|A ∩ B| / |A ∪ B| of two sets, each given as different numbers; not both are empty."""
    shared = len(numpy.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


def bands(threshold: float) -> tuple[int, int]:
    """How many bands of how many hashes a signature is cut into: the longest bands, so the fewest candidates, by
    which two texts as similar as `threshold` still meet with probability `RECALL`, 1 − (1 − thresholdʳ)ᵇ."""
    for rows in range(PERMUTATIONS, 1, -1):
        count = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** count >= RECALL and count > 1:
            return count, rows
    return PERMUTATIONS, 1


def _key(text: str) -> bytes:
    return hashlib.blake2b(normalised(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()
