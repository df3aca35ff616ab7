"""Texts as words and runs of words, hashed: what duplicates and contamination are found by.

A word is a run of letters, digits and marks, one character of a script that is written without spaces, or one sign
that carries meaning in arithmetic and programs (`a + b` and `a - b` are not the same words). Case, the many forms of
one character (NFKC), white space, other punctuation and invisible characters make no difference.
"""

from __future__ import annotations

import hashlib
import unicodedata

import numpy

# First and last code point of scripts written without spaces. Those whose vowel signs follow as marks stand apart.
_IDEOGRAPHIC = ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0x20000, 0x3FFFF))
_UNSPACED = ((0x0E00, 0x0EFF), (0x0F00, 0x109F), (0x1780, 0x17FF))
_SIGNS = "*/%&-"  # punctuation by Unicode, operators in programs
_FACTOR = 0x9E3779B97F4A7C15  # odd, so that multiplying by it loses nothing


class _Cutter(dict[int, str]):
    """For `str.translate`: what each character becomes, found out when it is first met."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _cut(chr(code), code)
        return found


def _cut(character: str, code: int) -> str:
    kind = unicodedata.category(character)
    if kind == "Cf":  # joiners, soft hyphens, direction marks
        return ""
    if kind[0] == "S" or character in _SIGNS:
        return f" {character} "
    if kind[0] in "PZC" and character != "_":
        return " "
    if kind == "Lo" and any(first <= code <= last for first, last in _IDEOGRAPHIC):
        return f" {character} "
    if kind == "Lo" and any(first <= code <= last for first, last in _UNSPACED):
        return f" {character}"  # its marks stay with it
    return character


_CUTTER = _Cutter()


def normalised(text: str) -> str:
    """The text in NFKC, lower case, every run of white space one space."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def words(text: str) -> list[str]:
    """The words of a text, normalised."""
    return unicodedata.normalize("NFKC", text).lower().translate(_CUTTER).split()


def word_hashes(text: str) -> numpy.ndarray:
    """A hash for each word of a text: uint64 `[words]`."""
    found = words(text)
    table = {word: _hash(word) for word in set(found)}
    return numpy.fromiter((table[word] for word in found), dtype=numpy.uint64, count=len(found))


def shingles(hashes: numpy.ndarray, size: int) -> numpy.ndarray:
    """A hash for each run of `size` words: uint64 `[words − size + 1]`, empty where there are fewer words.

    Two different runs share a hash with a probability of about 2⁻⁶⁴.
    """
    count = len(hashes) - size + 1
    if count <= 0:
        return numpy.zeros(0, dtype=numpy.uint64)
    runs = numpy.zeros(count, dtype=numpy.uint64)
    for at in range(size):
        runs = runs * numpy.uint64(_FACTOR) + hashes[at : at + count]
    # The lower bits of a product know nothing of the upper ones: mix them.
    runs ^= runs >> numpy.uint64(32)
    runs *= numpy.uint64(0xD6E8FEB86659FD93)
    return runs ^ (runs >> numpy.uint64(32))


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
