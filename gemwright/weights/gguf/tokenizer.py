"""The vocabulary inside a GGUF file ↔ ours: pieces with scores and types, the ids of the marks, the chat template.

The keys describe a SentencePiece model (`tokenizer.ggml.model` "llama"), so they become one, and ids are the same by
construction. Two customs of llama.cpp's converter are undone on reading and kept on writing: pieces that are matched
as they stand have spaces in place of U+2581, and the marks of turns and pictures are control pieces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemwright.errors import UserError
from gemwright.text import pieces as names
from gemwright.text import sentencepiece_file
from gemwright.text.scores import scored_pieces
from gemwright.text.sentencepiece_file import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    ModelFile,
    Piece,
    Pieces,
)
from gemwright.text.template import template_text
from gemwright.text.tokenizer import FILES, Tokenizer
from gemwright.weights.fields import shorten
from gemwright.weights.generation import read_generation
from gemwright.weights.gguf.header import FLOAT32, INT32, Header

_KEY = "tokenizer.ggml."
_IDS = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding", "eot": "eot"}  # ours → the format's word
_PADDING = re.compile(r"\[PAD([0-9]+)\]")  # what converters call rows that no piece has
_ADDED_SCORE = -1000.0  # llama.cpp's for pieces that no merge makes


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Pieces in id order, as a SentencePiece file has them; `ids` of "bos", "eos", "unk", "pad" and "eot", those that
    there are; the chat template's source."""

    pieces: Sequence[Piece]
    ids: dict[str, int]
    template: str | None

    def model(self) -> bytes:
        """The bytes of a `tokenizer.model` with these pieces."""
        return sentencepiece_file.serialize(self._file())

    def _file(self) -> ModelFile:
        marks = {word: (token, self.pieces[token].text) for word, token in self.ids.items() if word != "eot"}
        rest = sentencepiece_file.settings(len(self.pieces), marks)
        return ModelFile(self.pieces, sentencepiece_file.BPE, False, rest)

    def tokenizer(self, source: Path) -> Tokenizer:
        """The vocabulary at work; `source` is the file that it came from. Raises `UserError` when it is damaged."""
        return Tokenizer.of_model(self._file(), source, self.tokens())

    def tokens(self) -> dict[str, str]:
        """The marks' names as configs call them: "bos_token" → `<bos>`, …"""
        return {f"{word}_token": self.pieces[token].text for word, token in self.ids.items() if word != "eot"}


def read_vocabulary(header: Header) -> Vocabulary | None:
    """The vocabulary of a file, None where it has none. `UserError`: it is damaged or of another kind."""
    kind = header.metadata.get(_KEY + "model")
    if kind in (None, "none", "no_vocab"):
        return None
    if kind != "llama":
        raise UserError(
            f"{header.path}: its tokenizer is of the kind {shorten(kind)}; only SentencePiece's (llama) is read",
            hint="take a file that was converted with tokenizer.model beside the weights",
        )
    if header.metadata.get(_KEY + "add_space_prefix", False) is not False:
        raise UserError(
            f"{header.path}: its tokenizer adds a space before every text; Gemma's does not",
            hint="the file was converted wrongly; take another one",
        )
    texts = header.strings(_KEY + "tokens")
    scores = header.numbers(_KEY + "scores", (FLOAT32,))
    kinds = header.numbers(_KEY + "token_type", (INT32,))
    if not len(texts) == len(scores) == len(kinds):
        raise header.broken(f"{len(texts)} tokens, {len(scores)} scores and {len(kinds)} types do not match")
    ids = _ids(header, len(texts))
    while (
        texts and kinds[-1] == UNUSED and (found := _PADDING.fullmatch(texts[-1])) and int(found[1]) == len(texts) - 1
    ):
        del texts[-1], scores[-1], kinds[-1]
    template = header.metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise header.broken("tokenizer.chat_template is no text")
    return Vocabulary(pieces=_pieces(texts, scores, kinds, ids), ids=ids, template=template)


def _ids(header: Header, size: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for word, theirs in _IDS.items():
        token = header.metadata.get(key := f"{_KEY}{theirs}_token_id")
        if token is None:
            continue
        if type(token) is not int or not 0 <= token < size:
            raise header.broken(f"{key} is {shorten(token)} and there are {size} tokens")
        found[word] = token
    return found


def _pieces(texts: list[str], scores: list[float], kinds: list[int], ids: dict[str, int]) -> Pieces:
    """Pieces as SentencePiece has them.

    Old converters call pieces that are matched as they stand normal. Their score gives them away: it is 0 there, and
    they stand before the bytes.
    """
    bytes_start = kinds.index(BYTE) if BYTE in kinds else 0
    unknown = ids.get("unk", texts.index(names.UNKNOWN) if names.UNKNOWN in texts else -1)
    reserved = names.unparsed(texts) - names.SPECIAL
    made = Pieces(list(texts), list(scores), list(kinds))
    for at, (text, score, kind) in enumerate(zip(texts, scores, kinds, strict=True)):
        if kind == NORMAL and (score or at >= bytes_start) and at != unknown and text not in reserved:
            continue  # most of them
        if at == unknown:
            kind = UNKNOWN
        elif kind == UNKNOWN or text in reserved or (kind <= NORMAL and score == 0 and at < bytes_start):
            kind = USER_DEFINED
        elif kind not in (CONTROL, USER_DEFINED, UNUSED, BYTE):
            kind = NORMAL
        if kind == USER_DEFINED:
            made.texts[at] = text.replace(" ", names.SPACE_MARK)
        made.scores[at], made.kinds[at] = score if kind == NORMAL else 0.0, kind
    return made


def vocabulary_of(folder: Path) -> Vocabulary | None:
    """The vocabulary of a Hugging Face folder, None where it has none. Raises `UserError` for one that is damaged, or
    that has no words in this format."""
    if not any((folder / name).is_file() for name in FILES.values()):
        return None
    tokenizer = Tokenizer.load(folder, prefer="model")
    if tokenizer.source.suffix == ".model":
        inside = sentencepiece_file.parse(tokenizer.source.read_bytes()).pieces
    else:
        inside = scored_pieces(tokenizer.source)
    outside = [Piece(tokenizer.piece(token), 0.0, CONTROL) for token in range(len(inside), tokenizer.vocab_size)]
    ids = {"bos": tokenizer.bos, "eos": tokenizer.eos, "unk": tokenizer.unk, "pad": tokenizer.pad}
    if tokenizer.end_of_turn in read_generation(folder).get("eos_token_id", ()):
        ids["eot"] = tokenizer.end_of_turn  # a model that was never tuned on turns does not end them
    return Vocabulary(
        pieces=(*inside, *outside),
        ids={word: token for word, token in ids.items() if token is not None},
        template=template_text(folder),
    )


def trimmed(vocabulary: Vocabulary, rows: int, where: Path) -> Vocabulary:
    """The vocabulary without the image piece where the table has no row for it; `UserError` when others lack one."""
    beyond = [piece.text for piece in vocabulary.pieces[rows:]]
    if set(beyond) - {names.IMAGE_SOFT}:
        raise UserError(
            f"{where}: the vocabulary has {len(vocabulary.pieces)} pieces and the table {rows} rows",
            hint="do the tokenizer and the weights belong together?",
        )
    return Vocabulary(pieces=vocabulary.pieces[:rows], ids=vocabulary.ids, template=vocabulary.template)


def entries(vocabulary: Vocabulary) -> dict[str, Any]:
    """The metadata of a vocabulary: strings, flags, ids, and lists of strings, floats and ints."""
    texts, scores, kinds = [], [], []
    for text, score, kind in vocabulary.pieces:
        kind = CONTROL if text in names.SPECIAL and kind != UNKNOWN else kind
        texts.append(text.replace(names.SPACE_MARK, " ") if kind == USER_DEFINED else text)
        scores.append(_ADDED_SCORE if kind in (CONTROL, USER_DEFINED) else float(score))
        kinds.append(kind)
    tree: dict[str, Any] = {
        _KEY + "model": "llama",
        _KEY + "pre": "default",
        _KEY + "tokens": texts,
        _KEY + "scores": scores,
        _KEY + "token_type": kinds,
    }
    tree |= {f"{_KEY}{_IDS[word]}_token_id": token for word, token in vocabulary.ids.items()}
    tree |= {_KEY + "add_bos_token": True, _KEY + "add_eos_token": False, _KEY + "add_space_prefix": False}
    if vocabulary.template is not None:
        tree["tokenizer.chat_template"] = vocabulary.template
    return tree
