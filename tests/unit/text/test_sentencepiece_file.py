"""The wire format of tokenizer.model."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from gemwright.text import sentencepiece_file as wire
from gemwright.text.sentencepiece_file import ModelFile, Piece, Pieces


@pytest.fixture(scope="module")
def data(small_folder: Path) -> bytes:
    return (small_folder / "tokenizer.model").read_bytes()


def test_pieces_scores_and_types_are_those_the_library_reports(data: bytes):
    library = sentencepiece.SentencePieceProcessor(model_proto=data)
    model = wire.parse(data)
    assert len(model.pieces) == library.vocab_size()
    for token, piece in enumerate(model.pieces):
        assert piece.text == library.id_to_piece(token)
        assert piece.score == library.get_score(token)
        assert (piece.kind == wire.BYTE) == library.is_byte(token)
        assert (piece.kind == wire.CONTROL) == library.is_control(token)


def test_settings_of_a_trained_model_are_read(data: bytes):
    model = wire.parse(data)
    assert model.model_type == wire.BPE
    assert model.dummy_prefix is False


PIECES = st.lists(
    st.builds(Piece, st.text(max_size=200), st.floats(width=32, allow_nan=False), st.integers(1, 6)),
    min_size=1,
    max_size=20,
)


@given(PIECES)
def test_what_is_written_reads_back_equal(pieces: list[Piece]):
    model = ModelFile(pieces, model_type=2, dummy_prefix=True, rest=b"\x12\x02\x18\x02\x1a\x00")
    assert wire.parse(wire.serialize(model)) == model


@given(PIECES, st.integers(-21, 21), st.integers(-21, 21))
def test_columns_are_read_like_a_list_of_pieces(pieces: list[Piece], start: int, stop: int):
    columns = Pieces.of(pieces)
    assert columns == pieces and len(columns) == len(pieces) and columns[-1] == pieces[-1]
    assert list(columns[start:stop]) == pieces[start:stop] and columns != [*pieces, pieces[0]]


@pytest.mark.parametrize("size", [0, 117, 118, 119, 127, 128, 20_000])
def test_a_piece_of_any_length_and_kind_reads_back(size: int):
    pieces = [Piece("x" * size, -1.5, kind) for kind in (1, 127, 128)]
    model = ModelFile(pieces, model_type=2, dummy_prefix=False, rest=b"\x12\x02\x18\x02\x1a\x02\x18\x00")
    assert wire.parse(wire.serialize(model)) == model


def test_the_library_reads_what_is_written(data: bytes):
    library = sentencepiece.SentencePieceProcessor(model_proto=wire.serialize(wire.parse(data)))
    assert library.encode("return self", out_type=int) == sentencepiece.SentencePieceProcessor(model_proto=data).encode(
        "return self", out_type=int
    )


def test_every_cut_is_noticed(data: bytes):
    for cut in [*range(0, len(data), 397), *range(len(data) - 200, len(data))]:
        with pytest.raises(ValueError):
            wire.parse(data[:cut])


@given(st.binary(max_size=300))
def test_foreign_bytes_are_read_or_refused_with_value_error(junk: bytes):
    try:
        assert wire.parse(junk).pieces
    except ValueError as error:
        assert str(error)


def test_a_claimed_length_beyond_the_file_is_refused_without_allocating_it():
    with pytest.raises(ValueError, match="claims"):
        wire.parse(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x3f")
