"""The two file forms of a vocabulary, read so that special pieces never match in text.

`tokenizer.json` goes through the `tokenizers` library, `tokenizer.model` through `sentencepiece`. Each reader hands
the library a changed copy: special added tokens (and merges that would build one) are taken out of the JSON; special
pieces become control pieces in the SentencePiece model, which its encoder never produces.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers

from gemwright.errors import UserError
from gemwright.text import sentencepiece_file
from gemwright.text.config_files import read_object, token_name
from gemwright.text.pieces import SPACE_MARK, SPECIAL, unparsed
from gemwright.text.sentencepiece_file import CONTROL, UNKNOWN, ModelFile, Pieces

AGAIN = "fetch the file again"
FOREIGN = "use the tokenizer of a Gemma checkpoint"


@dataclass(frozen=True)
class Loaded:
    """A vocabulary read from a file.

    `pieces` in id order; `special` the names that are control marks; `unparsed` those and the reserved names: what
    `encode`, which turns plain text into ids, never gives back.
    """

    pieces: list[str]
    special: frozenset[str]
    unparsed: frozenset[str]
    encode: Callable[[str], list[int]]


def load_model(path: Path, special: set[str], config: dict[str, Any]) -> Loaded:
    """Read a SentencePiece file; `special` and `config` come from the folder's tokenizer_config.json.

    Raises:
        UserError: the file is damaged, not a BPE model, or one that puts a space before the text.
    """
    loaded = read_model(path.read_bytes(), path, special)
    outside = _outside(path.parent, config, len(loaded.pieces))
    return replace(
        loaded,
        pieces=loaded.pieces + outside,
        special=loaded.special.union(outside),
        unparsed=loaded.unparsed.union(outside),
    )


def read_model(data: bytes, path: Path, special: set[str]) -> Loaded:
    """As `load_model`, from the bytes of such a file; `path` is named where they are damaged."""
    try:
        model = sentencepiece_file.parse(data)
    except ValueError as error:
        raise UserError(f"{path}: not a whole SentencePiece model: {error}", hint=AGAIN) from error
    return take_model(model, path, special)


def take_model(model: ModelFile, path: Path, special: set[str]) -> Loaded:
    """The same from what such a file says."""
    if model.model_type != sentencepiece_file.BPE:
        raise UserError(f"{path}: a SentencePiece model of type {model.model_type}, not BPE (2)", hint=FOREIGN)
    if model.dummy_prefix:
        raise UserError(f"{path}: this vocabulary adds a space before every text; Gemma's does not", hint=FOREIGN)
    own = Pieces.of(model.pieces)
    pieces = list(own.texts)
    marks = {text for text, kind in zip(pieces, own.kinds, strict=True) if kind in (CONTROL, UNKNOWN)}
    marks |= SPECIAL.union(special).intersection(pieces)
    plain = marks | unparsed(pieces)
    kinds = [
        CONTROL if text in plain and kind != UNKNOWN else kind for text, kind in zip(pieces, own.kinds, strict=True)
    ]
    changed = sentencepiece_file.serialize(replace(model, pieces=Pieces(pieces, own.scores, kinds)))
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=changed)
    except RuntimeError as error:
        raise UserError(f"{path}: SentencePiece refuses this model: {error}", hint=AGAIN) from error
    return Loaded(pieces, frozenset(marks), frozenset(plain), lambda text: processor.encode(text, out_type=int))


def _outside(folder: Path, config: dict[str, Any], size: int) -> list[str]:
    """Names that Hugging Face's files add after the SentencePiece pieces, by id from `size` on without a gap."""
    named: dict[int, str] = {}
    added = config.get("added_tokens_decoder")
    for key, value in (added if isinstance(added, dict) else {}).items():
        if str(key).isdecimal() and (name := token_name(value)):
            named[int(key)] = name
    if (path := folder / "added_tokens.json").is_file():
        for name, token in read_object(path).items():
            if isinstance(token, int):
                named.setdefault(token, name)
    found: list[str] = []
    while size + len(found) in named:
        found.append(named[size + len(found)])
    return found


def load_json(path: Path, special: set[str]) -> Loaded:
    """Read a `tokenizer.json`; `special` are names that the folder's tokenizer_config.json calls special.

    Raises:
        UserError: the file is damaged, not a BPE vocabulary with byte fallback, or its ids have holes.
    """
    tree = read_object(path)
    model = tree.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or not isinstance(model.get("merges"), list):
        kind = model.get("type") if isinstance(model, dict) else None
        raise UserError(f"{path}: its model is {kind or 'missing'}, not BPE", hint=FOREIGN)
    if not model.get("byte_fallback"):
        raise UserError(f"{path}: a BPE vocabulary without byte fallback; Gemma's has it", hint=FOREIGN)
    added = tree.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(entry, dict) for entry in added):
        raise UserError(f"{path}: its added_tokens are not a list of objects", hint=AGAIN)
    pieces = json_pieces(path, model.get("vocab"), added)
    present = set(pieces)
    marks = present & ({entry["content"] for entry in added if entry.get("special")} | SPECIAL | special)
    plain = marks | unparsed(pieces)
    kept = [entry for entry in added if entry["content"] not in plain]
    # SentencePiece matches runs of spaces after spaces have become U+2581; published files say "before" here, which
    # differs where a text holds U+2581 itself
    tree["added_tokens"] = [entry | {"normalized": True} if _is_spaces(entry["content"]) else entry for entry in kept]
    model["merges"] = [pair for pair in model["merges"] if _joined(pair) not in plain]
    # settings that would cut, pad or add to the ids of a text have no place here
    tree["truncation"] = tree["padding"] = tree["post_processor"] = None
    try:
        back_end = tokenizers.Tokenizer.from_str(json.dumps(tree, ensure_ascii=False))
    except Exception as error:  # the library raises bare Exception for every kind of damage
        raise UserError(f"{path}: the tokenizers library refuses it: {error}", hint=AGAIN) from error
    # the library numbers added tokens anew, so one that follows a withdrawn token may have moved
    renamed = {back_end.token_to_id(entry["content"]): entry["id"] for entry in tree["added_tokens"]}
    moved = {there: here for there, here in renamed.items() if there != here and there is not None}

    def encode(text: str) -> list[int]:
        ids: list[int] = back_end.encode(text, add_special_tokens=False).ids
        return [moved.get(token, token) for token in ids] if moved else ids

    return Loaded(pieces, frozenset(marks), frozenset(plain), encode)


def _is_spaces(content: str) -> bool:
    return set(content) == {SPACE_MARK}


def _joined(pair: Any) -> str | None:
    """What a merge builds: files write it as "left right" or ["left", "right"]."""
    if isinstance(pair, str):
        return pair.replace(" ", "", 1)
    return "".join(map(str, pair)) if isinstance(pair, list) else None


def json_pieces(path: Path, vocab: Any, added: list[dict[str, Any]]) -> list[str]:
    """Pieces in id order, the tab written as the SentencePiece file writes it."""
    if not isinstance(vocab, dict) or not all(isinstance(token, int) for token in vocab.values()):
        raise UserError(f"{path}: its vocabulary does not map pieces to numbers", hint=AGAIN)
    named: dict[int, str] = {token: piece for piece, token in vocab.items()}
    for entry in added:
        token, content = entry.get("id"), entry.get("content")
        if not isinstance(token, int) or not isinstance(content, str):
            raise UserError(f"{path}: an added token without id and content: {entry}", hint=AGAIN)
        named.setdefault(token, content)
    if not named or min(named) != 0 or max(named) != len(named) - 1:
        raise UserError(f"{path}: {len(named)} pieces do not fill the ids from 0 without a hole", hint=AGAIN)
    pieces = [named[token] for token in range(len(named))]
    if "<0x08>" in vocab and "<0x09>" not in vocab and "\t" in vocab:
        # converters of Gemma's SentencePiece file put a tab in the place of its byte piece
        pieces[vocab["\t"]] = "<0x09>"
    return pieces
