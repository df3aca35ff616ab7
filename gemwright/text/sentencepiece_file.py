"""The few fields of a SentencePiece `tokenizer.model` that this package reads or changes.

The file is a protocol-buffer message (`ModelProto` of the public sentencepiece_model.proto): field 1 repeats the
pieces {1: text, 2: score, 3: type}, field 2 is the trainer's settings {3: model type}, field 3 the normaliser's
{3: add a space in front}. Reading the wire format here finds a damaged file before the C++ reader sees it, and lets
special pieces be withdrawn from text matching, which the library offers no switch for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
BPE = 2
_SCORE = struct.Struct("<f")
_TAIL = struct.Struct("<BfBB")  # a piece's score and type, where the type fits into one byte
_ONE_BYTE = [bytes([value]) for value in range(0x80)]


class Piece(NamedTuple):
    """One vocabulary entry: its text, its merge score (higher merges first) and its type (constants above)."""

    text: str
    score: float
    kind: int


class Pieces(Sequence[Piece]):
    """Entries in id order, held as columns: 262,144 tuples are as many objects for the garbage collector to walk."""

    def __init__(self, texts: list[str], scores: list[float], kinds: list[int]) -> None:
        self.texts, self.scores, self.kinds = texts, scores, kinds

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Pieces:
        """Any pieces as columns; those that are so already as they are."""
        if isinstance(pieces, Pieces):
            return pieces
        texts, scores, kinds = (list(column) for column in zip(*pieces, strict=True)) if pieces else ([], [], [])
        return cls(texts, scores, kinds)

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[Piece]:
        return map(Piece, self.texts, self.scores, self.kinds)

    @overload
    def __getitem__(self, at: int) -> Piece: ...
    @overload
    def __getitem__(self, at: slice) -> Pieces: ...
    def __getitem__(self, at: int | slice) -> Piece | Pieces:
        if isinstance(at, slice):
            return Pieces(self.texts[at], self.scores[at], self.kinds[at])
        return Piece(self.texts[at], self.scores[at], self.kinds[at])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # a list may change


@dataclass(frozen=True)
class ModelFile:
    """The read fields of a `tokenizer.model`; `rest` is every byte that is not a piece, untouched."""

    pieces: Sequence[Piece]
    model_type: int
    dummy_prefix: bool
    rest: bytes


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The variable-length integer at `at`, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("the file ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number at byte {at} is longer than ten bytes")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes, int, int]]:
    """Every field of a message as (number, value, first byte, byte after the last)."""
    at = 0
    while at < len(data):
        first = at
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ValueError(f"field number 0 at byte {first}")
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value, first, at
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"unknown wire type {wire} at byte {first}")
        if at + length > len(data):
            raise ValueError(f"the field at byte {first} claims {length} bytes where {len(data) - at} are left")
        yield number, data[at : at + length], first, at + length
        at += length


def _piece(data: bytes) -> Piece:
    end = 2 + data[1] if len(data) > 1 and data[0] == 0x0A and data[1] < 0x80 else len(data)
    if data[end : end + 1] == b"\x15" and (len(data) == end + 5 or (len(data) == end + 7 and data[-2] == 0x18)):
        # the usual order and sizes, read without the general walk: vocabularies have 262,144 of these
        kind = data[-1] if len(data) == end + 7 else NORMAL
        return Piece(data[2:end].decode("utf-8"), _SCORE.unpack_from(data, end + 1)[0], kind)
    text, score, kind = "", 0.0, NORMAL
    for number, value, _, _ in _fields(data):
        if number == 1 and isinstance(value, bytes):
            text = value.decode("utf-8")
        elif number == 2 and isinstance(value, bytes) and len(value) == 4:
            score = _SCORE.unpack(value)[0]
        elif number == 3 and isinstance(value, int):
            kind = value
    return Piece(text, score, kind)


def parse(data: bytes) -> ModelFile:
    """Read a `tokenizer.model`.

    Raises:
        ValueError: the bytes are not such a file, or are cut short; the message says where.
    """
    pieces: list[Piece] = []
    rest = bytearray()
    settings: dict[int, dict[int, int | bytes]] = {}
    for number, value, first, end in _fields(data):
        if number == 1 and isinstance(value, bytes):
            pieces.append(_piece(value))
            continue
        rest += data[first:end]
        if number in (2, 3) and isinstance(value, bytes):
            # 1 is what the format means by an absent field 3: unigram, and a space in front
            settings[number] = {3: 1} | {field: inner for field, inner, _, _ in _fields(value)}
    if not pieces:
        raise ValueError("it holds no pieces")
    if len(settings) < 2:
        raise ValueError(f"it ends after {len(pieces)} pieces, before its settings")
    model_type, prefix = settings[2][3], settings[3][3]
    if not isinstance(model_type, int) or not isinstance(prefix, int):
        raise ValueError("its settings are not numbers")
    return ModelFile(pieces, model_type, bool(prefix), bytes(rest))


def _number(value: int) -> bytes:
    if value < 0x80:
        return _ONE_BYTE[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def settings(size: int, names: dict[str, tuple[int, str]]) -> bytes:
    """The `rest` of a model file for `size` pieces: BPE with byte fallback, spaces kept as they are, none added.

    `names` gives id and text of "unk", "bos", "eos" and "pad", those of them that there are.
    """
    numbers = {"unk": (40, 45), "bos": (41, 46), "eos": (42, 47), "pad": (43, 48)}
    trainer = b"\x18" + _number(BPE) + b"\x20" + _number(size) + _field(35, 1)
    for word, (id_field, text_field) in numbers.items():
        if word in names:
            token, text = names[word]
            data = text.encode("utf-8")
            trainer += _field(id_field, token) + _number(text_field << 3 | 2) + _number(len(data)) + data
        else:
            trainer += _field(id_field, (1 << 64) - 1)  # -1: there is none
    normalizer = b"\x0a\x08identity\x18\x00\x20\x00"
    return b"\x12" + _number(len(trainer)) + trainer + b"\x1a" + _number(len(normalizer)) + normalizer


def _field(number: int, value: int) -> bytes:
    return _number(number << 3) + _number(value)


def serialize(model: ModelFile) -> bytes:
    """The bytes of a `tokenizer.model` with these pieces and settings; `parse` reads it back equal."""
    tail, heads, out = _TAIL.pack, _HEADS, []
    pieces = Pieces.of(model.pieces)
    for text, score, kind in zip(pieces.texts, pieces.scores, pieces.kinds, strict=True):
        data = text.encode("utf-8")
        if len(data) < len(heads) and kind < 0x80:
            out.append(heads[len(data)] + data + tail(0x15, score, 0x18, kind))
            continue
        inner = b"\x0a" + _number(len(data)) + data + b"\x15" + _SCORE.pack(score) + b"\x18" + _number(kind)
        out.append(b"\x0a" + _number(len(inner)) + inner)
    return b"".join([*out, model.rest])


# What stands before a piece's text, by its length in bytes: a table, for vocabularies have 262,144 pieces.
_HEADS = [b"\x0a" + _number(size + 9) + b"\x0a" + _number(size) for size in range(0x80)]
