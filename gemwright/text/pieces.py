"""The special pieces of the family: their names, and their ids in the two published vocabularies.

The ids here are for checking and for documentation. A running program always asks the loaded tokenizer, because a
small vocabulary of the same layout numbers its pieces differently. Sources: the published `tokenizer.model` files
(Gemma 1, 2 and RecurrentGemma share one of 256,000 pieces; Gemma 3 has one of 262,144).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

PAD = "<pad>"
EOS = "<eos>"
BOS = "<bos>"
UNKNOWN = "<unk>"
MASK = "<mask>"
START_OF_TURN = "<start_of_turn>"
END_OF_TURN = "<end_of_turn>"
START_OF_IMAGE = "<start_of_image>"
END_OF_IMAGE = "<end_of_image>"
IMAGE_SOFT = "<image_soft_token>"

CORE = (PAD, EOS, BOS, UNKNOWN, MASK)
TURNS = (START_OF_TURN, END_OF_TURN)
IMAGES = (START_OF_IMAGE, END_OF_IMAGE)
SPECIAL = frozenset((*CORE, *TURNS, *IMAGES, IMAGE_SOFT))
"""Names that are control marks wherever they occur: never read out of plain text, left out of shown text."""

RESERVED = re.compile(r"<unused\d+>|<2mass>|\[@BOS@\]|\[multimodal\]")
"""Names kept for later tuning: never read out of plain text either, but shown when a model emits one."""

_OPENING = ("<", "[")  # the first characters of all of them, which few of a vocabulary's 262,144 names share

BYTE = re.compile(r"<0x([0-9A-F]{2})>")
SPACE_MARK = "▁"
"""U+2581, which stands for a space inside pieces."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """One published vocabulary: `size` SentencePiece pieces and the ids of its special names."""

    size: int
    ids: dict[str, int]
    newline: int


GEMMA_2 = Vocabulary(
    size=256_000,
    ids={PAD: 0, EOS: 1, BOS: 2, UNKNOWN: 3, MASK: 4, START_OF_TURN: 106, END_OF_TURN: 107},
    newline=108,
)
GEMMA_3 = Vocabulary(
    size=262_144,
    ids={
        PAD: 0,
        EOS: 1,
        BOS: 2,
        UNKNOWN: 3,
        MASK: 4,
        START_OF_TURN: 105,
        END_OF_TURN: 106,
        START_OF_IMAGE: 255_999,
        END_OF_IMAGE: 256_000,
        IMAGE_SOFT: 262_144,
    },
    newline=107,
)
"""`<image_soft_token>` lies one past the SentencePiece file: only Hugging Face folders name it."""

VOCABULARIES = {"gemma1": GEMMA_2, "gemma2": GEMMA_2, "recurrentgemma": GEMMA_2, "gemma3": GEMMA_3}


def unparsed(names: Iterable[str]) -> set[str]:
    """Those of the names whose pieces must never come out of ordinary text."""
    return {name for name in names if name[:1] in _OPENING and (name in SPECIAL or RESERVED.fullmatch(name))}


def training_specials(family: str) -> tuple[str, ...]:
    """Names after the five core ones that a new vocabulary of `family` gets, in id order.

    For gemma3 `<image_soft_token>` is one of them: a vocabulary made here has it within its size, where the published
    one has it behind.

    Raises:
        ValueError: `family` is none of gemma1, gemma2, gemma3, recurrentgemma.
    """
    if family not in VOCABULARIES:
        raise ValueError(f"family {family!r} is not one of {', '.join(VOCABULARIES)}")
    return (*TURNS, *IMAGES, IMAGE_SOFT) if START_OF_IMAGE in VOCABULARIES[family].ids else TURNS


def run_pieces(vocab_size: int) -> tuple[str, ...]:
    """Whitespace runs that are pieces of their own: line breaks, spaces (as U+2581) and tabs.

    Gemma's vocabularies hold runs of 1 to 31 line breaks and 2 to 31 spaces; runs of tabs are kept to 8 here. A
    vocabulary under 4,096 pieces gets shorter runs, so that words keep most of its room. They are matched in text
    like any text: nothing about them is special.
    """
    lines, spaces, tabs = (31, 31, 8) if vocab_size >= 4096 else (4, 16, 4)
    return (
        *("\n" * length for length in range(1, lines + 1)),
        *(SPACE_MARK * length for length in range(2, spaces + 1)),
        *("\t" * length for length in range(1, tabs + 1)),
    )
