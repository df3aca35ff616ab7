"""A `tokenizer.json` as SentencePiece pieces, for formats that know scores and no merges.

SentencePiece ranks a merge by the piece that it makes, whatever its two parts are, and tries every pair that makes a
piece. A list of merges says as much only if all ways to make one piece stand together and none is missing, which is so
for lists that were made from a SentencePiece file; any other is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gemwright.errors import UserError
from gemwright.text import pieces
from gemwright.text.backends import json_pieces
from gemwright.text.config_files import read_object
from gemwright.text.sentencepiece_file import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, Piece


def scored_pieces(path: Path) -> list[Piece]:
    """The pieces of a `tokenizer.json` in id order, with scores that rank merges as the file does.

    The file must be one that `Tokenizer.load` takes. Raises `UserError` where scores cannot say the same.
    """
    tree = read_object(path)
    model, added = tree["model"], tree.get("added_tokens") or []
    texts = json_pieces(path, model["vocab"], added)
    kinds = {entry["content"]: CONTROL if entry.get("special") else USER_DEFINED for entry in added}
    kinds |= {text: BYTE for text in texts if pieces.BYTE.fullmatch(text)}
    kinds[model.get("unk_token") or pieces.UNKNOWN] = UNKNOWN
    ranks = _ranks(path, [text for text in texts if text not in kinds], model["merges"])
    return [
        Piece(text, 0.0 if text in kinds else -float(ranks.get(text, len(ranks) + at)), kinds.get(text, NORMAL))
        for at, text in enumerate(texts)
    ]


def _ranks(path: Path, texts: Sequence[str], merges: Sequence[Any]) -> dict[str, int]:
    """Piece → its place among the pieces in the order in which merges make them."""
    known = set(texts)
    ways: dict[str, set[tuple[str, str]]] = {}
    last = None
    for entry in merges:
        left, right = entry.split(" ", 1) if isinstance(entry, str) else entry
        made = left + right
        if made not in known:  # runs of white space and the like, which are matched as they stand
            continue
        if made in ways and made != last:
            raise _refusal(path, f"merges that make {made!r} stand apart")
        ways.setdefault(made, set()).add((left, right))
        last = made
    for text in texts:
        cuts = ((text[:at], text[at:]) for at in range(1, len(text)))
        possible = {(left, right) for left, right in cuts if left in known and right in known}
        if possible != ways.get(text, set()):
            raise _refusal(path, f"{text!r} could be made in {len(possible)} ways, and not all are merges")
    return {text: at for at, text in enumerate(ways)}


def _refusal(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: its merges cannot be said in scores: {reason}", hint="put the vocabulary's tokenizer.model beside it"
    )
