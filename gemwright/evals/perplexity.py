"""How well a model predicts text that it has not been trained on, beside the counts of an n-gram model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from gemwright.data import python_text
from gemwright.data.documents import PYTHON, Digest, Document, held_out, read
from gemwright.errors import UserError
from gemwright.evals.interval import Interval, bootstrap
from gemwright.evals.ngram import NGram
from gemwright.lm import LM
from gemwright.text.tokenizer import Tokenizer

ORDER = 3
LEARNT = 300_000  # tokens of the training side that the n-gram models count first


@dataclass(frozen=True, kw_only=True)
class Perplexity:
    """Of the tokens of `documents` texts. `bytes`: their size in UTF-8.

    `nats` per token and `bits` per byte, each with its 95% interval over documents; `bits` does not depend on the
    vocabulary. `ngrams`: bits per byte of the unigram, bigram and trigram model over the same tokens. `sha256`: of the
    documents' names and texts.
    """

    documents: int
    tokens: int
    bytes: int
    nats: float
    nats_interval: Interval
    bits: float
    bits_interval: Interval
    ngrams: tuple[float, ...]
    learnt: int
    sha256: str

    @property
    def perplexity(self) -> float:
        """exp of the nats per token; infinite where it leaves the numbers."""
        return math.exp(self.nats) if self.nats < 700 else math.inf

    def to_json(self) -> dict[str, Any]:
        """JSON values; an infinite perplexity, which JSON lacks, as None."""
        names = ("unigram", "bigram", "trigram")
        return {
            "text": {"documents": self.documents, "bytes": self.bytes, "sha256": self.sha256},
            "tokens": self.tokens,
            "nats_per_token": self.nats,
            "nats_per_token_interval": list(self.nats_interval),
            "bits_per_byte": self.bits,
            "bits_per_byte_interval": list(self.bits_interval),
            "perplexity": self.perplexity if math.isfinite(self.perplexity) else None,
            "baselines_bits_per_byte": dict(zip(names, self.ngrams, strict=True)),
            "baselines_learnt_tokens": self.learnt,
        }


def texts(files: Sequence[str | Path]) -> tuple[list[Document], Iterable[Document]]:
    """What to measure on, and what the n-gram models may count first: the files, and nothing; without files what every
    recipe holds out of Python's own text, and the rest of it. Raises `UserError` for what cannot be read."""
    if files:
        return list(_plain(files)), ()
    kept = [document for document in _plain([PYTHON]) if held_out(document, python_text.HELD_OUT)]
    return kept, (document for document in _plain([PYTHON]) if not held_out(document, python_text.HELD_OUT))


def _plain(sources: Sequence[str | Path]) -> Iterator[Document]:
    for document in read(sources):
        if not isinstance(document, Document):
            raise UserError("a conversation is no plain text", hint="give files of text: --text FILE")
        yield document


def perplexity(
    lm: LM,
    documents: Sequence[Document],
    before: Iterable[Document] = (),
    *,
    seed: int = 0,
    most: int | None = None,
    on_done: Callable[[int], object] | None = None,
) -> Perplexity:
    """Each document on its own, behind one `<bos>`, every token of its text predicted once; long ones in windows that
    overlap by half (see `LM.score`). `most`: documents to read, the first ones (default: all). `seed`: of the
    intervals. `on_done` is told how many documents are done. Raises `UserError` where there is nothing to predict.
    """
    if lm.tokenizer is None:
        raise UserError(f"{lm.spec.name} has no tokenizer", hint="put its files into the model's folder")
    chosen = [document for document in islice(documents, most) if document.text]
    if not chosen:
        raise UserError("the text is empty", hint="give another file: --text FILE")
    ids = [lm.tokenizer.encode(document.text, bos=True) for document in chosen]
    nats: list[float] = []
    for done, some in enumerate(ids, start=1):
        nats.append(-math.fsum(lm.score(some).logprobs))
        if on_done is not None:
            on_done(done)
    tokens = [len(some) - 1 for some in ids]
    sizes = [len(document.text.encode("utf-8", "surrogatepass")) for document in chosen]
    bits = [value / math.log(2) for value in nats]
    ngrams, learnt = _ngrams(lm.tokenizer, before, ids)
    digest = Digest()
    for document in chosen:
        digest.add(document)
    return Perplexity(
        documents=len(chosen),
        tokens=sum(tokens),
        bytes=sum(sizes),
        nats=math.fsum(nats) / sum(tokens),
        nats_interval=bootstrap(nats, tokens, seed),
        bits=math.fsum(bits) / sum(sizes),
        bits_interval=bootstrap(bits, sizes, seed),
        ngrams=tuple(value / math.log(2) / sum(sizes) for value in ngrams),
        learnt=learnt,
        sha256=digest.hex,
    )


def _ngrams(tokenizer: Tokenizer, before: Iterable[Document], texts: Sequence[list[int]]) -> tuple[list[float], int]:
    """The nats of all texts by unigrams, bigrams and trigrams, and how many tokens were counted beforehand."""
    counts = NGram(tokenizer.vocab_size, ORDER)
    for document in before:
        if counts.tokens >= LEARNT:
            break
        counts.learn(tokenizer.encode(document.text, bos=True))
    learnt = counts.tokens
    sums = [0.0] * ORDER
    for ids in texts:
        sums = [total + value for total, value in zip(sums, counts.nats(ids), strict=True)]
    return sums, learnt
