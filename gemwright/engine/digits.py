"""How long a number in a JSON answer may become: JSON itself sets no limit, and a model may go on with it. No torch."""

from __future__ import annotations

from dataclasses import dataclass

DIGITS = 40
"""The most digits in a row, unless the grammar leaves nothing else. A double needs 17 and its zeros, an integer of 128
bits 39."""

_DIGITS = b"0123456789"


@dataclass(frozen=True)
class Place:
    """Where a JSON text stands: digits in a row so far (0 in a string), and whether in a string, or behind its `\\`."""

    run: int = 0
    text: bool = False
    escaped: bool = False

    def after(self, piece: bytes) -> Place:
        """The place behind these bytes, too."""
        run, text, escaped = self.run, self.text, self.escaped
        for byte in piece:
            if text:
                text, escaped = escaped or byte != ord('"'), not escaped and byte == ord("\\")
            elif byte == ord('"'):
                text, run = True, 0
            else:
                run = run + 1 if byte in _DIGITS else 0
        return Place(run, text, escaped)


def leading(piece: bytes) -> int:
    """The digits that the bytes begin with."""
    return len(piece) - len(piece.lstrip(_DIGITS))
