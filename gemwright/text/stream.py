"""Ids into text as they arrive, never half a character."""

from __future__ import annotations

import codecs

from gemwright.text.tokenizer import Tokenizer


class TextStream:
    """Turns one sequence's ids into text piece by piece.

    The parts that `push` and `flush` return, joined, are exactly `tokenizer.decode(ids, skip_special)`. A character
    whose bytes are spread over several ids comes out with its last byte; bytes that can no longer become a character
    come out as U+FFFD, where `decode` of the whole puts one.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        self._hidden = tokenizer.special_ids if skip_special else frozenset[int]()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The new text that is safe to show after id `token` ("" while a character is incomplete).

        Raises:
            ValueError: the vocabulary has no such id.
        """
        data = self._tokenizer.bytes_of(token)
        return "" if token in self._hidden else self._decoder.decode(data)

    def flush(self) -> str:
        """The rest at the end of the sequence: a cut-off character becomes U+FFFD. The stream starts afresh after."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text
