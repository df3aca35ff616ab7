"""Documents in pieces that fit a row."""

from __future__ import annotations

import numpy

from gemwright.data.tokens import TokenFile


def cut(tokens: TokenFile, row: int) -> numpy.ndarray:
    """Pieces int64 `[pieces, 2]`: first target and number of targets. A document is cut after every `row` of them or,
    where that would be within a picture, before the picture; pieces in which nothing is learnt are left out.

    Raises `ValueError` where a picture does not fit a row.
    """
    starts = tokens.starts
    lengths = numpy.diff(starts)
    counts = -(-lengths // row)  # ceil
    document = numpy.repeat(numpy.arange(len(lengths)), counts)
    within = numpy.arange(int(counts.sum())) - numpy.repeat(numpy.cumsum(counts) - counts, counts)
    first = within * row
    pieces = numpy.stack([starts[:-1][document] + first, numpy.minimum(lengths[document] - first, row)], axis=1)
    if len(tokens.places):
        pieces = _around_pictures(tokens, row, pieces, document)
    if tokens.loss is None:
        return pieces
    return pieces[numpy.maximum.reduceat(tokens.loss, pieces[:, 0]) > 0]


def _around_pictures(tokens: TokenFile, row: int, pieces: numpy.ndarray, document: numpy.ndarray) -> numpy.ndarray:
    """The pieces, with the long documents that show pictures cut anew."""
    if tokens.meta.picture_tokens + 2 > row:
        raise ValueError(f"a picture of {tokens.meta.picture_tokens} tokens and its marks do not fit a row of {row}")
    first, count = tokens.places[:, 0], tokens.meta.picture_tokens
    of = numpy.searchsorted(tokens.starts, first, side="right") - 1
    cautious = [number for number in numpy.unique(of).tolist() if numpy.diff(tokens.starts)[number] > row]
    new: list[tuple[int, int]] = []
    for number in cautious:
        start, end = tokens.starts[number : number + 2].tolist()
        new += _cautiously(start, end, row, first[of == number], count)
    kept = pieces[~numpy.isin(document, cautious)]
    both = numpy.concatenate([kept, numpy.asarray(new, dtype=numpy.int64).reshape(-1, 2)])
    return both[both[:, 0].argsort(kind="stable")]


def _cautiously(start: int, end: int, row: int, first: numpy.ndarray, count: int) -> list[tuple[int, int]]:
    """Pieces of the document of tokens `start` to `end`, whose pictures' soft tokens begin at `first`."""
    pieces = []
    while start < end:
        stop = min(start + row, end)
        # A picture goes with its two marks. The last target of a piece is no input of it, and is not seen there.
        within = first[(first - 1 < stop) & (stop < first + count + 1)]
        if len(within) and stop < end:
            stop = int(within[0]) - 1
        pieces.append((start, stop - start))
        start = stop
    return pieces
